"""Real apps of Starlette and FastAPI: wherever the middleware stands in them, no model runs without a key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import fastapi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import App, Message

CHAT = "/v1/chat/completions"
SERVICES: Mapping[str, Any] = {"keys": {"sk-acme": "acme"}}


class Model:
    """What stands for a model: it notes that it ran."""

    def __init__(self) -> None:
        self.runs = 0

    async def answer(self, _request: Request) -> JSONResponse:
        self.runs += 1
        return JSONResponse({"choices": []})

    async def talk(self, websocket: WebSocket) -> None:
        self.runs += 1
        await websocket.accept()
        await websocket.close()


async def call(app: App, method: str, path: str, root_path: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
    """One request, as a server hands it to its app; the status and the body, parsed."""
    sent: list[Message] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "root_path": root_path, "query_string": b"", "headers": [], "scheme": "http", "server": ("a", 80), **more,
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"model": "llama", "messages": []}', "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body) if body.startswith(b"{") else {}


def metered() -> Middleware:
    return Middleware(MeteringMiddleware, client=MeteringClient("127.0.0.1:1"), services=SERVICES)


def inside_a_mount(model: Model) -> App:
    api = Starlette(routes=[Route("/chat/completions", model.answer, methods=["POST"])], middleware=[metered()])
    return Starlette(routes=[Mount("/v1", api)])


def inside_two_mounts(model: Model) -> App:
    api = Starlette(routes=[Route("/chat/completions", model.answer, methods=["POST"])], middleware=[metered()])
    return Starlette(routes=[Mount("/llm", Starlette(routes=[Mount("/v1", api)]))])


def of_a_mount(model: Model) -> App:
    routes = [Route("/chat/completions", model.answer, methods=["POST"])]
    return Starlette(routes=[Mount("/v1", routes=routes, middleware=[metered()])])


def of_a_route(model: Model) -> App:
    return Starlette(routes=[Route(CHAT, model.answer, methods=["POST"], middleware=[metered()])])


def outermost(model: Model) -> App:
    api = Starlette(routes=[Route("/chat/completions", model.answer, methods=["POST"])])
    return Starlette(routes=[Mount("/v1", api)], middleware=[metered()])


def of_fastapi(model: Model) -> App:
    app = fastapi.FastAPI()
    app.add_api_route(CHAT, model.answer, methods=["POST"])
    app.add_middleware(MeteringMiddleware, client=MeteringClient("127.0.0.1:1"), services=SERVICES)
    return app


def of_fastapi_with_a_root(model: Model) -> App:
    app = fastapi.FastAPI()
    # As vLLM sets it.
    app.root_path = "/api"
    app.add_api_route(CHAT, model.answer, methods=["POST"])
    app.add_middleware(MeteringMiddleware, client=MeteringClient("127.0.0.1:1"), services=SERVICES)
    return app


PLACES = [inside_a_mount, of_a_mount, of_a_route, outermost, of_fastapi, of_fastapi_with_a_root]


@pytest.mark.parametrize("place", PLACES)
async def test_wherever_it_stands_no_model_runs_without_a_key(place: Callable[[Model], App]) -> None:
    """Outermost, in a mount, of a mount, of a route, of an app with a root path."""
    model = Model()
    assert (await call(place(model), "POST", CHAT))[0] == 401
    assert model.runs == 0


async def test_two_mounts() -> None:
    """The root path grows by each."""
    model = Model()
    assert (await call(inside_two_mounts(model), "POST", f"/llm{CHAT}"))[0] == 401
    assert model.runs == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("root_path", ["", "/", "/api", "/v1", "/v1/", "/api/v1"])
@pytest.mark.parametrize(
    "path",
    [
        f"{CHAT}\n", f"{CHAT}/", f"/{CHAT}", "/v1//chat/completions", f"/api{CHAT}", f"/api/{CHAT}", f"/api{CHAT}\n",
        f"/api{CHAT}/", f"/v1{CHAT}", f"/v1/{CHAT}", f"//v1{CHAT}", "/chat/completions", "/v1/chat%2fcompletions",
        f"{CHAT};x", "/v1/./chat/completions", "/V1/chat/completions",
    ],
)  # fmt: skip
async def test_no_path_leads_to_the_model_without_a_key(
    place: Callable[[Model], App], root_path: str, path: str
) -> None:
    """Whatever the app makes of it, and whatever the method."""
    model = Model()
    app = place(model)
    for method in ("POST", "PUT", "post"):
        status, _ = await call(app, method, path, root_path)
        assert status >= 307
    assert model.runs == 0


PARTS = ["/", "//", "/v1", "v1", "/chat", "/completions", "/chat/completions", "/api", "/llm", "/V1", "/Chat"]
ODD = [".", "..", "%2f", "%", ";", "\\", "?", "#", "\u017f", "\n", "\0", " ", "\u2028"]
PIECES = st.sampled_from([*PARTS, *ODD, CHAT, f"/api{CHAT}", f"/llm{CHAT}"])


@given(
    st.sampled_from([*PLACES, inside_two_mounts]),
    st.sampled_from(["", "/", "//", "/v1", "/v1/", "v1", "/api", "/api/v1", "/llm/v1", CHAT, "/v1\n"]),
    st.lists(PIECES, max_size=5).map("".join),
    st.sampled_from(["POST", "PUT", "HEAD", "GET", "post"]),
)
@settings(max_examples=400, deadline=None)
async def test_no_path_at_all_leads_to_the_model_without_a_key(
    place: Callable[[Model], App], root_path: str, path: str, method: str
) -> None:
    """The app's own router decides what it takes for a route that runs a model."""
    model = Model()
    await call(place(model), method, path, root_path)
    assert model.runs == 0


@pytest.mark.parametrize("path", ["/api/pull", "/flush_cache", "/v1/audio/speech", "/v1/images/generations", "/sleep"])
async def test_a_refusal_names_the_setting(path: str) -> None:
    """The sentence says what was refused and who can open it."""
    model = Model()
    app = Starlette(routes=[Route(path, model.answer, methods=["POST"])], middleware=[metered()])
    status, body = await call(app, "POST", path)
    assert (status, body["error"]["code"], model.runs) == (404, "unknown_route", 0)
    assert f"POST {path}" in body["error"]["message"]
    assert "TALLYGATE_ROUTES" in body["error"]["message"]


async def test_what_a_setting_opens_runs() -> None:
    """An operator may open what is refused by default."""
    model = Model()
    app = Starlette(routes=[Route("/sleep", model.answer, methods=["POST"])])
    with_routes = MeteringMiddleware(
        app, client=MeteringClient("127.0.0.1:1"), services=SERVICES, routes="POST /sleep=free"
    )
    assert (await call(with_routes, "POST", "/sleep"))[0] == 200
    assert model.runs == 1


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_websocket_is_refused(extensions: Mapping[str, Any]) -> None:
    """With a readable answer where the server can give one."""
    model = Model()
    app = Starlette(routes=[WebSocketRoute("/v1/realtime", model.talk)], middleware=[metered()])
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "path": "/v1/realtime", "root_path": "", "query_string": b"",
        "headers": [], "extensions": extensions,
    }  # fmt: skip
    await app(scope, receive, send)
    assert model.runs == 0
    if extensions:
        assert sent[0]["status"] == 404
    else:
        assert sent[0]["type"] == "websocket.close"


async def test_a_type_of_connection_that_nobody_knows_is_refused() -> None:
    """What ASGI may bring is not let through unread."""
    app = MeteringMiddleware(Starlette(), client=MeteringClient("127.0.0.1:1"), services=SERVICES)
    with pytest.raises(ValueError, match="webtransport"):
        await call(app, "POST", CHAT, type="webtransport")
