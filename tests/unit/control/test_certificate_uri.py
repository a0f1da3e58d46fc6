"""URIs of certificates: which say what their bearer may do, and which say nothing."""

import pytest

from control_service.domain.certificate_uri import implied_rights
from tallygate._access.rights import Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope

DOMAIN = "tallygate.internal"
ROOT = f"spiffe://{DOMAIN}/tallygate"


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("node-1", ["node-1"], ["node-10", "node-1-1", "node"]),
        ("node-1-*", ["node-1-1", "node-1-20"], ["node-1", "node-11", "node-2-1"]),
    ],
)
def test_a_nodes_certificate_is_for_its_own_names(name: str, allowed: list[str], refused: list[str]) -> None:
    """One name, or all that begin so, such as those of a machine's workers."""
    caller = Rights(implied_rights(f"{ROOT}/node/{name}", DOMAIN))
    assert all(caller.may_be_node(one) for one in allowed)
    assert not any(caller.may_be_node(one) for one in refused)


@pytest.mark.parametrize(("name", "scope"), [("acme", Scope("acme")), ("*", PLATFORM)])
def test_a_meters_certificate_is_for_an_account_or_all(name: str, scope: Scope) -> None:
    """And for nothing but reports."""
    (right,) = implied_rights(f"{ROOT}/meter/{name}", DOMAIN)
    assert (right.role, right.scope) == (Role.METER, scope)


@pytest.mark.parametrize(
    "uri",
    [
        f"{ROOT}/node/",
        f"{ROOT}/node/*",
        f"{ROOT}/node/a*b",
        f"{ROOT}/node/a**",
        f"{ROOT}/node/a/b",
        f"{ROOT}/node/A",
        f"{ROOT}/node/a\n",
        f"{ROOT}/meter/acme*",
        f"{ROOT}/other/a",
        f"spiffe://{DOMAIN}.evil/tallygate/node/a",
        f"spiffe://x.{DOMAIN}/tallygate/node/a",
        f"https://{DOMAIN}/tallygate/node/a",
    ],
)
def test_other_uris_say_nothing(uri: str) -> None:
    """Also those that nearly do."""
    assert implied_rights(uri, DOMAIN) == ()


def test_without_a_trust_domain_no_uri_says_anything() -> None:
    """Whoever has a certificate then has the roles that are bound to its URI."""
    assert implied_rights("spiffe:///tallygate/node/a", "") == ()
