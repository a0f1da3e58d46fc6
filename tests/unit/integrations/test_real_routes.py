"""The table against the sources of vLLM and SGLang, where they are: every route that may run a model is known."""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallygate.integrations import known_routes
from tallygate.integrations.routes import Routes, Use

SOURCES = "TALLYGATE_TEST_SERVERS"
"""Folders with unpacked packages, with colons between, where they are not installed."""

PACKAGES = {"vllm": ("entrypoints",), "sglang": ("srt/entrypoints",)}
VERBS = {"get", "post", "put", "patch", "delete", "websocket", "api_route"}
OPERATORS = {
    # Seen, and refused for what they are: they stop, change or look into the server, or end the requests of others.
    "abort", "add_external_corpus", "apply", "begin", "collective_rpc", "configure", "continue_generation",
    "destroy", "dumper", "end", "fault_tolerance", "finish", "hicache", "init", "is_scaling", "load_lora", "pause",
    "pd_role_switch", "register", "release", "remove_external_corpus", "reset", "resume", "scale_elastic_ep",
    "send_weights", "set_internal_state", "shutdown", "sleep", "start", "stop", "unload_lora", "update", "wake_up",
    "weight", "flush", "freeze", "dump", "get_weights", "open_session", "close_session", "set_trace", "slow_down",
}  # fmt: skip


def folder_of(package: str) -> Path | None:
    """Where a package's source is."""
    for folder in os.environ.get(SOURCES, "").split(os.pathsep):
        if folder and (Path(folder) / package).is_dir():
            return Path(folder) / package
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None


def routes_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Method and path of each route that is declared by a decorator."""
    for path in sorted(folder.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
                for decorator in function.decorator_list:
                    yield from _declared(decorator)


def _declared(decorator: ast.expr) -> Iterator[tuple[str, str]]:
    if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.args):
        return
    verb, path = decorator.func.attr, decorator.args[0]
    if isinstance(path, ast.Call) and path.args:
        path = path.args[-1]  # os.environ.get(NAME, default)
    if verb not in VERBS or not (isinstance(path, ast.Constant) and isinstance(path.value, str)):
        return
    methods = [verb.upper()]
    for keyword in decorator.keywords:
        if keyword.arg == "methods":
            methods = list(ast.literal_eval(keyword.value))
    for method in methods:
        # What a server also takes by POST does something when it is asked by GET.
        yield "DOING" if method == "GET" and "POST" in methods else method, path.value


@pytest.mark.parametrize("package", PACKAGES)
def test_every_route_of_the_real_server_is_known(package: str) -> None:
    """Metered, free, or an operator's; what is new there is refused until somebody has looked at it."""
    folder = folder_of(package)
    if folder is None:
        pytest.skip(f"{package} is not installed; {SOURCES} may name a folder with its source")
    routes = Routes()
    listed = {path for _, path, *_ in (*known_routes.METERED, *known_routes.FREE, *known_routes.REFUSED)}
    found = [route for part in PACKAGES[package] for route in routes_of(folder / part)]
    assert ("POST", "/v1/chat/completions") in found
    unknown = set()
    for method, path in found:
        kind = "websocket" if method == "WEBSOCKET" else "http"
        asked = "GET" if method == "DOING" else method
        use = routes.judge({"type": kind, "method": asked, "path": path.replace("{response_id}", "resp_1")}).use
        if method == "DOING" and use is Use.FREE:
            unknown.add((asked, path))
        if use is Use.UNKNOWN and not any(word in path for word in OPERATORS) and path not in listed:
            unknown.add((method, path))
    assert unknown == set()
