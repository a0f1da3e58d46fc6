"""What the errors of gRPC say of TLS, in words of people."""

from __future__ import annotations

import re
from typing import Final

_NOT_CONNECTED: Final = "failed to connect"
_NOT_VERIFIED: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED: (.+?)(?:: OK)?$")
_OTHER_NAME: Final = "Hostname Verification Check failed"
_NO_TLS: Final = "WRONG_VERSION_NUMBER"
_BROKEN_OFF: Final = ("Socket closed", "Connection reset by peer", "Broken pipe", "_ALERT_")
_WHY_BROKEN_OFF: Final[dict[bool | None, str]] = {
    True: "as servers do that want a certificate of their callers, or do not accept this one",
    False: "as servers do that speak TLS only",
    None: "as servers do that speak TLS only, or accept only certain certificates",
}


def tls_problem(details: str, *, has_tls: bool | None = None) -> str:
    """Why a connection was not made, as a clause whose subject is the server; empty where it is not about TLS.

    `details`: of the error of a call that failed with UNAVAILABLE; `has_tls`: whether the client spoke TLS, if known.
    """
    if not details.startswith(_NOT_CONNECTED):
        return ""
    if _OTHER_NAME in details:
        return "shows a certificate that is not for this name"
    if found := _NOT_VERIFIED.search(details):
        return f"shows a certificate that is not accepted ({found[1]})"
    if _NO_TLS in details:
        return "does not speak TLS"
    if any(words in details for words in _BROKEN_OFF):
        return f"breaks off each connection, {_WHY_BROKEN_OFF[has_tls]}"
    return ""
