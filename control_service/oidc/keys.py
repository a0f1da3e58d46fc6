"""The keys of an issuer, as far as they may sign id tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from control_service.oidc.algorithms import RSA_BITS_MIN, fits
from control_service.oidc.fetch import Document
from control_service.oidc.provider import ProviderError

KEYS_MAX: Final = 100
"""Maximum number of keys that an issuer may have."""

_PUBLIC: Final = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
"""Members of a key that are read, by its type. There is no type for shared secrets, so that none verifies anything."""
_EDWARDS: Final = ("EdDSA", "Ed25519")
"""Names of the one algorithm that RFC 9864 renamed."""
_MODULUS_CHARACTERS_MIN: Final = RSA_BITS_MIN // 6
"""Minimum length of a written modulus: what is shorter is a weak key for sure."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key; `algorithm` is the only one that it is for, or empty."""

    key_id: str | None
    algorithm: str
    key: Key


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that an issuer publishes for signatures."""

    keys: tuple[IssuerKey, ...]

    @classmethod
    def parse(cls, document: Document) -> Self:
        """The keys in a JWK set; those that cannot be used here are passed over. Raises ProviderError."""
        entries = document.get("keys")
        if not isinstance(entries, list):
            raise ProviderError("has no list of keys")
        if len(entries) > KEYS_MAX:
            raise ProviderError(f"has more than {KEYS_MAX} keys")
        keys = tuple(key for key in map(_parse_key, entries) if key is not None)
        if not keys:
            raise ProviderError("has no key that can be used here")
        return cls(keys)

    def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that may have signed: with that id, or the only one where the token names none."""
        fitting = [each for each in self.keys if _may_sign(each, algorithm)]
        if key_id is None:
            return [each.key for each in fitting] if len(fitting) == 1 else []
        return [each.key for each in fitting if each.key_id == key_id]


def _may_sign(each: IssuerKey, algorithm: str) -> bool:
    same = each.algorithm in ("", algorithm) or {each.algorithm, algorithm} <= set(_EDWARDS)
    return same and fits(each.key, algorithm)


def _parse_key(entry: Any) -> IssuerKey | None:
    if not isinstance(entry, dict) or not _is_for_signatures(entry):
        return None
    key_id, algorithm, members = entry.get("kid"), entry.get("alg", ""), _public_members(entry)
    if members is None or not isinstance(key_id, str | None) or not isinstance(algorithm, str):
        return None
    try:
        return IssuerKey(key_id, algorithm, JWKRegistry.import_key(members))
    except (JoseError, ValueError, TypeError, KeyError, OverflowError):
        return None  # of a kind that the library does not know, or malformed: it says so in many ways


def _is_for_signatures(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _public_members(entry: dict[str, Any]) -> dict[str, str | list[str]] | None:
    kind = entry.get("kty")
    names = _PUBLIC.get(kind) if isinstance(kind, str) else None
    if names is None or not all(isinstance(entry.get(name), str) for name in names):
        return None
    if kind == "RSA" and len(entry["n"]) < _MODULUS_CHARACTERS_MIN:
        return None
    return {name: entry[name] for name in names}
