"""Routes of LiteLLM's proxy that no hook sees, refused in front of its own."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tallygate.integrations.litellm.unseen import UNSEEN, refuse_unseen
from tallygate.integrations.routes import parse_routes

PATHS = [path for _, path in UNSEEN]


async def run_a_model(_: Request) -> PlainTextResponse:
    return PlainTextResponse("a model has run")


def litellm(setting: str = "") -> TestClient:
    """As LiteLLM serves them: what is refused is known after it has begun."""
    app = Starlette(routes=[Route(path, run_a_model, methods=["GET", "POST"]) for path in (*PATHS, "/v1/threads")])
    client = TestClient(app)
    assert client.post("/v1/rag/query").is_success
    refuse_unseen(app.router, parse_routes(setting))
    return client


@pytest.mark.parametrize(("method", "path"), UNSEEN)
def test_a_route_that_no_hook_sees_is_refused(method: str, path: str) -> None:
    """With the name of the setting that opens it; nothing else is."""
    client, other = litellm(), "GET" if method == "POST" else "POST"
    refused = client.request(method, path.format(thread_id="thread_1"))
    assert refused.status_code == 404
    assert "TALLYGATE_ROUTES" in refused.json()["error"]["message"]
    assert client.post("/v1/threads").is_success
    assert client.request(other, path.format(thread_id="thread_1")).is_success


def test_a_setting_opens_such_a_route() -> None:
    """For whoever knows that nothing of it is counted."""
    assert litellm("GET /health=free").get("/health").is_success
    client = litellm("POST /v1/threads/{thread}/runs=free")
    assert client.post("/v1/threads/thread_1/runs").is_success
    assert client.post("/threads/thread_1/runs").status_code == 404
