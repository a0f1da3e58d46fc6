"""The algorithms that may sign id tokens: each with one kind of public key, and none with a shared secret."""

from typing import Final

from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from typing_extensions import override

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
"""Algorithms by their names in tokens; RFC 9864 renamed EdDSA, and issuers use both names."""
RSA_BITS_MIN: Final = 2_048
"""Minimum size of an RSA key."""
HEADER_BYTES_MAX: Final = 8 * 1024
"""Maximum size of a token's header: some issuers put certificates there."""


def fits(key: Key, algorithm: str) -> bool:
    """Whether the key is of the one kind that the algorithm signs with."""
    match algorithm:
        case "RS256":
            return isinstance(key, RSAKey) and key.raw_value.key_size >= RSA_BITS_MIN
        case "ES256":
            return isinstance(key, ECKey) and key.curve_name == "P-256"
        case "EdDSA" | "Ed25519":
            return isinstance(key, OKPKey) and key.curve_name == "Ed25519"
        case _:
            return False


class Signatures(JWSRegistry):
    """The library's algorithms, narrowed to these.

    Parameters of a header that nobody knows are passed over, as RFC 7515 has it, unless they are critical.
    """

    max_header_length = HEADER_BYTES_MAX

    def __init__(self) -> None:
        super().__init__(algorithms=ALGORITHMS, strict_check_header=False)

    @override
    def get_alg(self, name: str) -> JWSAlgModel:
        """One of the few, without the library's warning that EdDSA has a newer name: issuers still use the old one."""
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]
