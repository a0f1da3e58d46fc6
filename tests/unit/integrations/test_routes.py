"""What becomes of a request, by its method and path: as the app behind will see them, and refused unless known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tallygate.integrations import known_routes
from tallygate.integrations.routes import Route, Routes, Use, parse_routes
from tallygate.integrations.shapes import METERED_SHAPES, Shape

PAGE = Path(__file__).parents[3] / "docs" / "integrations" / "routes.md"
CHAT = "/v1/chat/completions"
METERED_CHAT = Route(Use.METERED, Shape.CHAT)


def judge(method: str, path: str, root_path: str = "", *, routes: Routes | None = None) -> Route:
    kind = {"type": "websocket"} if method == "WEBSOCKET" else {"type": "http", "method": method}
    scope: dict[str, Any] = {**kind, "path": path, "root_path": root_path}
    return (routes or Routes()).judge(scope)


@pytest.mark.parametrize(("methods", "path", "shape"), known_routes.METERED)
def test_what_makes_the_model_run_is_metered_or_refused(methods: str, path: str, shape: Shape) -> None:
    """Each of the table, also below a root path."""
    expected = Route(Use.METERED, shape) if shape in METERED_SHAPES else Route(Use.REFUSED)
    for method in methods.split():
        assert judge(method, path) == expected
        assert judge(method, f"/root{path}", "/root") == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "post", "get", "MKCOL", "WEBSOCKET"])
@pytest.mark.parametrize("path", ["/", "/v1/images/generations", "/api/chat/", "/sleep", "/v1/load_lora_adapter"])
def test_what_is_not_known_is_refused(method: str, path: str) -> None:
    """Whatever the method, in the spelling that the app may take all the same."""
    assert judge(method, path).use in {Use.UNKNOWN, Use.REFUSED}


@pytest.mark.parametrize(
    "path", ["/", "/health", "/metrics", "/version", "/load", "/v1/models", "/v1/models/a/b", "/docs"]
)
def test_what_is_only_read_is_free(path: str) -> None:
    """Health, metrics, models and pages stay open."""
    for method in ("GET", "HEAD", "OPTIONS"):
        assert judge(method, path).use is Use.FREE


@pytest.mark.parametrize(
    "path",
    ["/health_generate", "/health_generate/", "/Health_Generate", "/v1/responses/resp_1", "/v1/Responses/resp_1/"],
)
def test_what_is_read_and_makes_the_model_run_or_is_of_others_is_refused(path: str) -> None:
    """Also in the spellings that an app may take for it."""
    for method in ("GET", "HEAD"):
        assert judge(method, path).use is Use.REFUSED
        assert judge(method, f"/api{path}", "/api").use is Use.REFUSED


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/ping", "/v1/messages/count_tokens"])
def test_what_makes_no_model_run_is_free(path: str) -> None:
    """What only counts or looks things up needs no key of ours."""
    assert judge("POST", path).use is Use.FREE


@pytest.mark.parametrize(
    "path",
    [
        f"{CHAT}/",
        f"/{CHAT}",
        "/v1//chat/completions",
        "/v1/./chat/completions",
        "/x/../v1/chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/ch%61t/completions",
        f"{CHAT};a=b",
        f"{CHAT}?x",
        f"{CHAT}#x",
        "/V1/chat/completions",
        "/v1\\chat\\completions",
        "v1/chat/completions",
        "",
        "*",
    ],
)
def test_a_path_that_apps_read_differently_is_refused(path: str) -> None:
    """Empty and dotted segments, double encoding, parameters, another case."""
    for root in ("", "/v1", "/x/v1"):
        assert judge("POST", path, root).use in {Use.UNKNOWN, Use.REFUSED}


def test_a_slash_at_the_end_of_a_root_path_is_no_empty_segment() -> None:
    """Servers put it in front of the path as it is; one slash more is one too many."""
    assert judge("POST", f"/{CHAT}", "/") == METERED_CHAT
    assert judge("POST", f"/api/{CHAT}", "/api/") == METERED_CHAT
    assert judge("POST", "/v1//chat/completions", "/v1/") == METERED_CHAT
    for path, root in ((f"//{CHAT}", "/"), (f"/{CHAT}", "//"), (f"/api//{CHAT}", "/api/"), (f"/{CHAT}", "/api/")):
        assert judge("POST", path, root).use is Use.UNKNOWN


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x7f", "\x85", "\u2028", "\udc80"])
def test_a_control_character_is_refused(character: str) -> None:
    """A router's `$` matches before a newline, and others cut at it."""
    for path in (CHAT + character, character + CHAT, f"/v1/{character}chat/completions", f"/v1/models/{character}"):
        assert judge("POST", path).use is Use.UNREADABLE
        assert judge("GET", path, "/v1").use is Use.UNREADABLE


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        (CHAT, ""),
        (CHAT, "/"),
        (CHAT, "/v1"),
        (CHAT, "/v1/"),
        (CHAT, "/api"),
        (f"/api{CHAT}", "/api"),
        (f"/api{CHAT}", "/api/v1"),
        (f"/a/b{CHAT}", "/a/b"),
        ("/chat/completions", "/v1"),
        ("/chat/completions", "/api/v1"),
        (f"/api{CHAT}", "/api/"),
    ],
)
def test_mounts_and_root_paths_lead_to_the_same_route(path: str, root_path: str) -> None:
    """Whole paths and those below a root, and the older way, in which a mount takes its part off the path."""
    assert judge("POST", path, root_path) == METERED_CHAT


def test_where_two_kinds_are_possible_it_is_refused() -> None:
    """Whole path and path below the root lead to two kinds: nobody can tell which one the app takes."""
    routes = parse_routes("POST /a/ask=metered:chat; POST /ask=metered:completion")
    assert judge("POST", "/ask", routes=routes) == Route(Use.METERED, Shape.COMPLETION)
    assert judge("POST", "/a/ask", "/a", routes=routes) == Route(Use.UNKNOWN)


def test_a_setting_comes_before_what_is_known() -> None:
    """Own routes, wildcards and segments; the longest holds."""
    routes = parse_routes(
        "POST /v1/rerank=free; POST /llm/v1/chat/completions=metered:chat;GET /health=refused;"
        " * /admin/*=free;POST /admin/secret/*=refused; POST /v1/{team}/ask=metered:completion; WEBSOCKET /ws=free;"
    )
    assert judge("POST", "/v1/rerank", routes=routes).use is Use.FREE
    assert judge("PUT", "/v1/rerank", routes=routes).use is Use.METERED
    assert judge("POST", "/llm/v1/chat/completions", routes=routes) == METERED_CHAT
    assert judge("GET", "/health", routes=routes).use is Use.REFUSED
    assert judge("DELETE", "/admin/a/b", routes=routes).use is Use.FREE
    assert judge("POST", "/admin/secret/a", routes=routes).use is Use.REFUSED
    assert judge("PUT", "/admin/secret/a", routes=routes).use is Use.FREE
    assert judge("POST", "/v1/red/ask", routes=routes) == Route(Use.METERED, Shape.COMPLETION)
    assert judge("POST", "/v1/red/blue/ask", routes=routes).use is Use.UNKNOWN
    assert judge("WEBSOCKET", "/ws", routes=routes).use is Use.FREE
    assert judge("POST", CHAT, routes=routes) == METERED_CHAT


def test_any_method_is_any_method() -> None:
    """`*` holds for methods that are known as well."""
    routes = parse_routes("* /v1/chat/completions=refused")
    assert judge("POST", CHAT, routes=routes).use is Use.REFUSED
    assert judge("PUT", CHAT, routes=routes).use is Use.REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "POST",
        "POST /a",
        "/a=free",
        "post /a=free",
        "POST a=free",
        "POST /a=metered",
        "POST /a=metered:realtime",
        "GET /a=metered:chat",
        "* /a=metered:chat",
        "POST /a=open",
        "POST /a//b=free",
        "POST /a/*/b=free",
        "POST /a/../b=free",
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(text: str) -> None:
    """With a sentence that says what it has to be."""
    with pytest.raises(ValueError, match=r"has to"):
        parse_routes(text)


def test_the_page_on_routes_says_what_the_table_says() -> None:
    """Each metered route stands in its row, and no other."""
    rows = [row.split("|") for row in PAGE.read_text().splitlines() if row.startswith("| ")]
    of = {row[1].strip(): set(re.findall(r"`(/[^`]*)`", row[2])) for row in rows}
    assert of["metered"] == {path for _, path, shape in known_routes.METERED if shape in METERED_SHAPES}
    uncounted = {path for _, path, shape in known_routes.METERED if shape not in METERED_SHAPES}
    assert of["refused, since nobody counts it yet"] == uncounted
    assert all(f"`{shape.value}`" in PAGE.read_text() for shape in METERED_SHAPES)
