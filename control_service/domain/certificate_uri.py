"""Certificate URIs of the trust domain: `spiffe://{trust domain}/tallygate/...`, which say what their bearer may do."""

import re
from typing import Final

from tallygate._access.rights import Right
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._wire.names import ACCOUNT_ID, NODE_ID

TRUST_DOMAIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
"""Shape of a trust domain, as SPIFFE has it."""
_PATH: Final = re.compile(rf"/tallygate/(?:node/({NODE_ID}\*?)|meter/({ACCOUNT_ID}|\*))")


def implied_rights(uri: str, trust_domain: str) -> tuple[Right, ...]:
    """What the URI says of itself: a node, or a meter of one account or all; nothing of other URIs.

    A node's name may end in `*`, and stands for all names that begin so: those of one machine's workers, say.
    `trust_domain` is empty where none is configured: no URI says anything then.
    """
    prefix = f"spiffe://{trust_domain}"
    match = _PATH.fullmatch(uri.removeprefix(prefix)) if trust_domain and uri.startswith(prefix) else None
    if match is None:
        return ()
    node, account = match[1], match[2]
    if node:
        return (Right(Role.NODE, PLATFORM, (node,)),)
    return (Right(Role.METER, PLATFORM if account == "*" else Scope(account)),)
