#!/bin/sh
# xds-protos 1.85.0, Envoy's stubs on PyPI, installed beside opentelemetry-exporter-otlp-proto-grpc 1.45.2: it has
# google/api/*_pb2.py and opentelemetry/proto/**/*_pb2.py of its own, older ones, and pip writes them over those of
# googleapis-common-protos and opentelemetry-proto without a word. `pip check` finds nothing; importing the exporter ends
# in an ImportError. Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
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
