"""An id token as it is written: a header, claims and a signature. Nothing that it says is believed here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import CompactSignature, extract_compact, validate_compact

from control_service.domain.sign_in import ID_TOKEN_BYTES_MAX, IdTokenRefusedError, Refusal
from control_service.oidc.algorithms import ALGORITHMS, Signatures

_SIGNATURES: Final = Signatures()
_ODDITIES: Final = (JoseError, ValueError, TypeError, KeyError, RecursionError)
"""Exceptions by which the library and JSON refuse what somebody has made up."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """What is written in a token. Whether it is signed by whom it names is another question."""

    algorithm: str
    key_id: str | None
    claims: dict[str, Any]
    signature: CompactSignature

    def is_signed_by(self, keys: Sequence[Key]) -> bool:
        """Whether one of the keys has signed it."""
        return any(self._is_signed_by(key) for key in keys)

    def _is_signed_by(self, key: Key) -> bool:
        try:
            return validate_compact(self.signature, key, registry=_SIGNATURES)
        except _ODDITIES:
            return False


def parse_token(jwt: str) -> SignedToken:
    """Take a token apart. Raises IdTokenRefusedError."""
    if len(jwt) > ID_TOKEN_BYTES_MAX:
        raise IdTokenRefusedError(Refusal.TOO_LARGE, f"The id token is larger than {ID_TOKEN_BYTES_MAX} bytes.")
    try:
        signature = extract_compact(jwt.encode("ascii"), registry=_SIGNATURES)
        header: object = signature.headers()
        claims = json.loads(signature.payload)
    except _ODDITIES as error:
        raise _malformed() from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _malformed()
    return SignedToken(_algorithm(header), _key_id(header), claims, signature)


def _malformed() -> IdTokenRefusedError:
    return IdTokenRefusedError(Refusal.MALFORMED, "The id token is not a signed JSON web token; sign in again.")


def _algorithm(header: dict[str, Any]) -> str:
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if algorithm not in ALGORITHMS:
        names = ", ".join(ALGORITHMS)
        raise IdTokenRefusedError(
            Refusal.ALGORITHM, f"The id token is not signed by one of {names}; have the issuer use one of these."
        )
    # Issuers sign other tokens with the same keys, and those that are careful write here what they are.
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise IdTokenRefusedError(Refusal.NOT_AN_ID_TOKEN, "The token says that it is no id token; send the id token.")
    if "crit" in header or "b64" in header:
        raise IdTokenRefusedError(
            Refusal.MALFORMED, "The id token needs an extension of JSON web signatures that is not known here."
        )
    return str(algorithm)


def _key_id(header: dict[str, Any]) -> str | None:
    key_id = header.get("kid")
    if "kid" in header and not isinstance(key_id, str):
        raise _malformed()
    return key_id
