#!/bin/sh
# joserfc 1.8.0 with cryptography 50.0.2: key sets and headers that end in an error one would not catch.
#   - KeySet.import_key_set fails as a whole for one key that it cannot use: of a curve that it does not know (KeyError, which
#     is no JoseError) or with a `use` other than sig and enc. RFC 7517, section 5, has such keys ignored, and an issuer may
#     publish them beside those that sign. Only an unknown `kty` is passed over.
#   - jwt.decode raises TypeError, which is no JoseError either, for a header with `"crit": 5` or `"crit": null`, and for one
#     that is a JSON string or list with "alg" in it; all before any signature is looked at, so anybody can send them.
# So keys are to be imported one by one, and more than JoseError is to be caught.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check joserfc==1.8.0 cryptography==50.0.2
cat > "$folder/look.py" <<'PYTHON'
import base64
import json

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

key = RSAKey.generate_key(2048, {"kid": "first"})
right = key.as_dict(private=False)


def what_comes(call, *arguments, **options):
    """The name of the exception, and whether whoever catches JoseError catches it."""
    try:
        call(*arguments, **options)
    except Exception as error:
        return type(error).__name__, isinstance(error, JoseError)
    return "nothing", True


def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def key_set(other):
    return what_comes(KeySet.import_key_set, {"keys": [right, other]})


def decoded(header):
    token = f"{encoded(header)}.{encoded({'sub': 'ada'})}.{encoded('no signature')}"
    return what_comes(jwt.decode, token, key, algorithms=["RS256"])


found = {
    "a key of an unknown type": key_set({"kty": "AKP", "kid": "second", "alg": "ML-DSA-44", "pub": "AA"}),
    "a key on P-192": key_set({"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA", "kid": "second"}),
    "a key for another use": key_set({**right, "kid": "second", "use": "tls"}),
    "a wrong algorithm": decoded({"alg": "HS256"}),
    "crit is a number": decoded({"alg": "RS256", "crit": 5}),
    "crit is null": decoded({"alg": "RS256", "crit": None}),
    "the header is a string": decoded("no algorithm"),
    "the header is a list": decoded(["alg"]),
}
for what, (error, caught) in found.items():
    print(f"{what}: {error}{'' if caught else ', which is no JoseError'}")
assert found == {
    "a key of an unknown type": ("nothing", True),
    "a key on P-192": ("KeyError", False),
    "a key for another use": ("KeyParameterError", True),
    "a wrong algorithm": ("UnsupportedAlgorithmError", True),
    "crit is a number": ("TypeError", False),
    "crit is null": ("TypeError", False),
    "the header is a string": ("TypeError", False),
    "the header is a list": ("TypeError", False),
}
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
