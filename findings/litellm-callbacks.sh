#!/usr/bin/env bash
# LiteLLM 1.108.7: a hook that a callback's class inherits is never called, and nothing says so; a limit of fewer than 16
# tokens of a response is sent as 16; a stream that says the same a hundred times is broken off as an error; the proxy asks
# a model for /queue/chat/completions, for runs of assistants, for GET /health with any user's key, and for /usage/ai/chat of
# its console, without asking any hook before.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.108.7'
cd "$work" && LITELLM_LOCAL_MODEL_COST_MAP=True "$work/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm
from fastapi import Request
from fastapi.testclient import TestClient
from litellm.caching.caching import DualCache
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import proxy_server
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
from litellm.proxy.auth.route_checks import RouteChecks
from litellm.proxy.auth.user_api_key_auth import user_api_key_auth
from litellm.proxy.utils import ProxyLogging

PIECE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
RUN = {"id": "run", "object": "thread.run", "thread_id": "t", "assistant_id": "a", "status": "completed", "created_at": 1}
sent: list[dict] = []


class Upstream(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        sent.append(body)
        self.send_response(200)
        if self.path.endswith("/runs"):
            content = json.dumps(RUN).encode()
            self.send_header("content-type", "application/json")
        elif self.path.endswith("/chat/completions") and not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            content = json.dumps({**PIECE, "object": "chat.completion", "choices": [choice]}).encode()
            self.send_header("content-type", "application/json")
        elif not body.get("stream"):
            answer = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": []}
            content = json.dumps({**answer, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}).encode()
            self.send_header("content-type", "application/json")
        else:
            choice = {"index": 0, "delta": {"content": "tok "}, "finish_reason": None}
            content = f"data: {json.dumps({**PIECE, 'choices': [choice]})}\n\n".encode() * 300
            self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """A run is asked for until it is over."""
        content = json.dumps(RUN).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Counting(CustomLogger):
    calls = 0

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        type(self).calls += 1


class Derived(Counting):
    calls = 0


async def call_hooks() -> None:
    litellm.callbacks = [Counting(), Derived()]
    data = {"model": "m", "messages": []}
    hooks = ProxyLogging(user_api_key_cache=DualCache())
    await hooks.pre_call_hook(user_api_key_dict=UserAPIKeyAuth(), data=data, call_type="acompletion")
    litellm.callbacks = []


def expect(what: str, wanted: object, seen: object) -> None:
    print(f"{what}: {seen}")
    if seen != wanted:
        raise SystemExit(f"expected {wanted}")


print("litellm", version("litellm"))
asyncio.run(call_hooks())
expect("calls of a hook that stands in the class", 1, Counting.calls)
expect("calls of a hook that is inherited", 0, Derived.calls)
server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=server.serve_forever, daemon=True).start()
where = {"api_base": f"http://127.0.0.1:{server.server_port}/v1", "api_key": "any"}
litellm.responses(model="openai/m", input="?", max_output_tokens=5, **where)
expect("max_output_tokens of 5, as the server gets it", 16, sent[-1]["max_output_tokens"])
read = 0
try:
    for _ in litellm.completion(model="openai/m", messages=[{"role": "user", "content": "?"}], stream=True, **where):
        read += 1
    end = "as any other"
except Exception as error:
    print(f"after {read} pieces: {str(error)[:90]}")
    end = type(error).__name__
expect("a stream of 300 equal pieces ends", "MidStreamFallbackError", end)

proxy_server.llm_router = litellm.Router(
    model_list=[{"model_name": "m", "litellm_params": {"model": "openai/m", **where}}],
    assistants_config={"custom_llm_provider": "openai", "litellm_params": where},
)
proxy_server.master_key = "sk-master"
litellm.callbacks = [Counting()]
client = TestClient(proxy_server.app, headers={"authorization": "Bearer sk-master"})
chat = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
for path, body, hooks in (
    ("/v1/chat/completions", chat, 1),
    ("/queue/chat/completions", {**chat, "priority": 0}, 0),
    ("/v1/threads/t/runs", {"assistant_id": "a"}, 0),
):
    sent.clear()
    Counting.calls = 0
    answer = client.post(path, json=body)
    expect(f"{path}: status, requests to the model, and calls of the hook", (200, 1, hooks), (answer.status_code, len(sent), Counting.calls))
role = LitellmUserRoles.INTERNAL_USER
users = UserAPIKeyAuth(api_key="sk-user", user_id="user", models=["m"], user_role=role)
asked = Request({"type": "http", "method": "GET", "path": "/health", "query_string": b"", "headers": []})
RouteChecks.non_proxy_admin_allowed_routes_check(None, role.value, "/health", asked, users, {})
proxy_server.app.dependency_overrides[user_api_key_auth] = lambda: users
proxy_server.llm_model_list = proxy_server.llm_router.get_model_list()
sent.clear()
Counting.calls = 0
status = client.get("/health").status_code
expect("/health with a user's key: status, tokens asked of the model, and calls of the hook", (200, [16], 0),
       (status, [body["max_tokens"] for body in sent], Counting.calls))
users.user_role = LitellmUserRoles.PROXY_ADMIN
os.environ.update(OPENAI_BASE_URL=where["api_base"], OPENAI_API_KEY=where["api_key"])
sent.clear()
Counting.calls = 0
answer = client.post("/usage/ai/chat", json={"model": "openai/m", "messages": chat["messages"]})
expect("/usage/ai/chat with an admin's key: status, requests to the model, and calls of the hook", (200, 1, 0),
       (answer.status_code, len(sent), Counting.calls))
server.shutdown()
PYTHON
