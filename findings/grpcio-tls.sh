#!/bin/sh
# grpcio 1.85.3, on a server with TLS:
#   - a port asks every client for a certificate or none: with require_client_auth=False a client's certificate is not
#     asked for, also where authorities of clients are given, so that nothing of it is in the context of a call;
#   - a client whose certificate is refused is told "Socket closed", without the word certificate;
#   - a server starts with a key on P-521 or of Ed25519, and then no client of gRPC can connect to it;
#   - a fetcher that raises, or gives a key that does not belong to the certificate, changes nothing: the old pair stays
#     in use, and only a line on standard error, in a form of gRPC's own, says so.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3 cryptography==50.0.2
cat > "$folder/look.py" <<'PYTHON'
import datetime
from concurrent.futures import ThreadPoolExecutor

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
seen = []


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, request, context):
        seen.append({name for name in context.auth_context() if name.startswith(("x509", "peer"))})
        return b""


def make(key):
    """A certificate for localhost that vouches for itself, and its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    certificate = builder.sign(key, hashed).public_bytes(pem)
    return key.private_bytes(pem, form, serialization.NoEncryption()), certificate


def call(credentials, shown=None, trusted=None):
    """Nothing where a call succeeds, else the error's text."""
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    key, certificate = shown or (None, None)
    mine = grpc.ssl_channel_credentials(trusted, key, certificate)
    with grpc.secure_channel(f"localhost:{port}", mine, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/a/b")(b"", timeout=20)
        except grpc.RpcError as error:
            return error.details()
        finally:
            server.stop(0)
    return ""


ours, theirs = make(ec.generate_private_key(ec.SECP256R1())), make(ec.generate_private_key(ec.SECP256R1()))

optional = grpc.ssl_server_credentials([ours], root_certificates=theirs[1], require_client_auth=False)
assert call(optional, shown=theirs, trusted=ours[1]) == ""
print("not required: of the client's certificate is seen", seen[-1] or "nothing")
assert seen[-1] == set()

required = grpc.ssl_server_credentials([ours], root_certificates=theirs[1], require_client_auth=True)
assert call(required, shown=theirs, trusted=ours[1]) == ""
assert "x509_pem_cert" in seen[-1]
for what, shown in (("no certificate", None), ("another one", ours)):
    said = call(required, shown=shown, trusted=ours[1])
    print(f"required, {what}:", said)
    assert said.endswith("Socket closed") and "certificate" not in said.lower(), said

for name, key, works in (
    ("RSA", rsa.generate_private_key(65_537, 2_048), True),
    ("P-256", ec.generate_private_key(ec.SECP256R1()), True),
    ("P-384", ec.generate_private_key(ec.SECP384R1()), True),
    ("P-521", ec.generate_private_key(ec.SECP521R1()), False),
    ("Ed25519", ed25519.Ed25519PrivateKey.generate(), False),
):
    pair = make(key)
    said = call(grpc.ssl_server_credentials([pair]), trusted=pair[1])
    print(f"{name:8}", said or "works")
    assert (said == "") is works, (name, said)


def broken():
    raise RuntimeError("no certificate to be had")


for what, fetch in (
    ("raises", broken),
    ("gives a key of another certificate", lambda: grpc.ssl_server_certificate_configuration([(ours[0], theirs[1])])),
):
    first = grpc.ssl_server_certificate_configuration([ours])
    said = call(grpc.dynamic_ssl_server_credentials(first, fetch), trusted=ours[1])
    print(f"a fetcher that {what}:", said or "the old pair is used")
    assert said == "", said
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
grep -q "Failed fetching new server credentials" "$folder/log"
grep -q "Handshaker factory creation failed" "$folder/log"
echo "grpcio 1.85.3 still does all of this."
