#!/bin/sh
# What real clients make of `Retry-After` beyond a minute, at 429 and with one retry allowed:
#   openai 3.57.0 (Python), anthropic 2.14.0 (Python), openai 7.59.0 and @anthropic-ai/sdk 1.14.0 (Node).
#   - at 60 s all wait as long as they are told;
#   - beyond it, openai for Node ignores the header and tries again after half a second;
#   - beyond 120 s, openai for Python gives up;
#   - both of Anthropic's wait as long as they are told, be it a day;
#   - with `x-should-retry: false` none of them tries again, whatever the wait.
# Waits are noted instead of waited for. Seen on Linux with Python 3.11 and Node 20. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0 anthropic==2.14.0
(cd "$folder" && npm install --silent --no-audit --no-fund openai@7.59.0 @anthropic-ai/sdk@1.14.0)
cat > "$folder/ask.mjs" <<'JS'
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
const [kind, url] = process.argv.slice(2);
const waits = [];
const later = globalThis.setTimeout;
globalThis.setTimeout = (then, ms, ...rest) => {
  const isWait = ms > 0 && ms !== 600_000 && new Error().stack.includes("node_modules");
  if (isWait) waits.push(ms / 1000);
  return later(then, isWait ? 0 : ms, ...rest);
};
const options = { apiKey: "k", maxRetries: 1, timeout: 600_000 };
const messages = [{ role: "user", content: "Hi" }];
try {
  if (kind === "openai") {
    await new OpenAI({ ...options, baseURL: `${url}/v1` }).chat.completions.create({ model: "m", messages });
  } else {
    await new Anthropic({ ...options, baseURL: url }).messages.create({ model: "m", max_tokens: 5, messages });
  }
} catch {}
console.log(waits.length ? waits[0] : "none");
process.exit(0);
JS
cat > "$folder/look.py" <<'PYTHON'
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai

HEADERS = {}
waits = []
time_sleep = time.sleep
MESSAGES = [{"role": "user", "content": "Hi"}]


class Refuse(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(429)
        for name, value in {"content-length": "2", **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = "http://127.0.0.1:%d" % server.server_port


def python(kind):
    """The first wait of a Python client, in seconds."""
    waits.clear()
    time.sleep = lambda seconds: waits.append(seconds) if seconds > 0.3 else time_sleep(seconds)
    try:
        if kind == "openai":
            client = openai.OpenAI(base_url=url + "/v1", api_key="k", max_retries=1)
            client.chat.completions.create(model="m", messages=MESSAGES)
        else:
            client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=1)
            client.messages.create(model="m", max_tokens=5, messages=MESSAGES)
    except (openai.APIStatusError, anthropic.APIStatusError):
        pass
    time.sleep = time_sleep
    return waits[0] if waits else "none"


def node(kind):
    """The same of a Node client."""
    out = subprocess.run(["node", "ask.mjs", kind, url], cwd=sys.argv[1], capture_output=True, text=True, check=True)
    said = out.stdout.strip()
    return said if said == "none" else float(said)


CLIENTS = [(f"{kind} for {name}", kind, ask) for kind in ("openai", "anthropic") for name, ask in (("Python", python), ("Node", node))]
for headers in ({}, {"x-should-retry": "false"}):
    for seconds in (60, 61, 121, 86_400):
        HEADERS.clear()
        HEADERS.update({**headers, "retry-after": str(seconds)})
        found = {title: ask(kind) for title, kind, ask in CLIENTS}
        print(f"retry-after {seconds}, {headers or 'nothing more'}: {found}")
        if headers:
            assert set(found.values()) == {"none"}
            continue
        assert found["anthropic for Python"] == found["anthropic for Node"] == seconds
        assert found["openai for Python"] == ("none" if seconds > 120 else seconds)
        assert found["openai for Node"] == 60 if seconds == 60 else found["openai for Node"] < 1
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
