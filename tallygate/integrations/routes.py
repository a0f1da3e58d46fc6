"""Routes: a request is metered, free or refused by its method and path; refused unless known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tallygate.integrations import known_routes
from tallygate.integrations.shapes import METERED_SHAPES, Shape

SETTING = "TALLYGATE_ROUTES"
WEBSOCKET = "WEBSOCKET"
"""Method of a WebSocket's route, which has none of its own."""

_READING = frozenset({"GET", "OPTIONS"})
_ANY_METHOD = "*"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", WEBSOCKET, _ANY_METHOD})
_UNCLEAR = re.compile(r"//|/\.{1,2}(?:/|\Z)|[%\\;?#]|\A[^/]|\A\Z")
"""Paths that routers read in several ways: empty and dotted segments, double encoding, parameters of a segment."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SETTING_PATH = re.compile(r"/[^\s=;*]*(?:/\*)?|/\*")


class Use(Enum):
    """The treatment of a request."""

    METERED = "metered"
    FREE = "free"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"
    """Its path has characters that no path has."""


@dataclass(frozen=True, slots=True)
class Route:
    """The treatment of a request, and its kind where it is metered."""

    use: Use
    shape: Shape | None = None


FREE = Route(Use.FREE)
REFUSED = Route(Use.REFUSED)
UNKNOWN = Route(Use.UNKNOWN)
UNREADABLE = Route(Use.UNREADABLE)

_STRICTEST_FIRST = (Use.METERED, Use.REFUSED, Use.FREE)


class Routes:
    """Judges requests by a table. Pure.

    A route is a method, or `*` for any, and a path; in a path, `{name}` is any one segment, and `/*` at the end is
    whatever stands below. Of several that match, the one with the longest path holds, an own one before a known one.
    """

    def __init__(self, own: Iterable[tuple[str, str, Route]] = ()) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[int, str, re.Pattern[str], Route]] = []
        for method, path, route in _known():
            self._add(method, path, route, is_own=False)
        for method, path, route in own:
            self._add(method, path, route, is_own=True)
        self._patterns.sort(key=lambda entry: -entry[0])

    @property
    def metered(self) -> list[str]:
        """Method and path of each route that is metered."""
        exact = (f"{method} {path}" for (method, path), route in self._exact.items() if route.use is Use.METERED)
        return sorted(exact)

    def judge(self, scope: Mapping[str, Any]) -> Route:
        """What becomes of a connection, as of ASGI: of an HTTP request or a websocket."""
        method = WEBSOCKET if scope["type"] == "websocket" else str(scope["method"])
        method = "GET" if method == "HEAD" else method
        path, root_path = str(scope["path"]), str(scope.get("root_path", ""))
        if not root_path:
            # What nearly every request is.
            route = self._exact.get((method, path))
            if route is not None:
                return route
        if root_path.endswith("/") and path.startswith(f"{root_path}/"):
            # Servers put the root path in front of the path, slash and all, and routers take it off again.
            path = root_path[:-1] + path.removeprefix(root_path)
        if _CONTROL.search(path):
            return UNREADABLE
        if _UNCLEAR.search(path):
            return UNKNOWN
        found = [route for candidate in _candidates(path, root_path) if (route := self._find(method, candidate))]
        for use in _STRICTEST_FIRST:
            routes = {route for route in found if route.use is use}
            if routes:
                # Two kinds: how the app takes it is not known.
                return routes.pop() if len(routes) == 1 else UNKNOWN
        return FREE if method in _READING else UNKNOWN

    def frees(self, method: str, path: str) -> bool:
        """Whether a route says that this is free; that it is only read is not enough."""
        route = self._find(method, path)
        return route is not None and route.use is Use.FREE

    def _find(self, method: str, path: str) -> Route | None:
        route = (
            self._exact.get((method, path)) or self._exact.get((_ANY_METHOD, path)) or self._by_pattern(method, path)
        )
        if route is not None or method not in _READING:
            return route
        # Whatever is only read passes, unless an app may take it for something that is refused.
        loose = path.rstrip("/").lower()
        return None if loose == path else self._find(method, loose)

    def _by_pattern(self, method: str, path: str) -> Route | None:
        for _, of_method, pattern, route in self._patterns:
            if of_method in {method, _ANY_METHOD} and pattern.fullmatch(path):
                return route
        return None

    def _add(self, method: str, path: str, route: Route, *, is_own: bool) -> None:
        if "{" not in path and not path.endswith("/*"):
            if method == _ANY_METHOD:
                # It holds for the methods that are known as well.
                for known in [key for key in self._exact if key[1] == path]:
                    del self._exact[known]
            self._exact[method, path] = route
            return
        below = path.endswith("/*")
        parts = re.split(r"(\{[^{}/]*\})", path.removesuffix("/*"))
        pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
        self._patterns.append((2 * len(path) + is_own, method, re.compile(pattern + ("/.*" if below else "")), route))


def parse_routes(text: str) -> Routes:
    """The known routes, and before them those of a setting: `METHOD path=metered:KIND|free|refused;...`.

    Raises:
        ValueError: The setting has another form; the message has the part that is wrong.
    """
    return Routes(_parse_route(entry.strip()) for entry in text.split(";") if entry.strip())


def _parse_route(entry: str) -> tuple[str, str, Route]:
    key, _, use = entry.partition("=")
    method, _, path = key.strip().partition(" ")
    path, use = path.strip(), use.strip()
    if method not in _METHODS or not _SETTING_PATH.fullmatch(path) or _UNCLEAR.search(path.removesuffix("/*") or "/"):
        raise ValueError(
            f"`{entry}` has to begin with a method ({', '.join(sorted(_METHODS))}) and a path, such as POST /v1/rerank"
        )
    if use in {"free", "refused"}:
        return method, path, FREE if use == "free" else REFUSED
    kinds = {shape.value: shape for shape in METERED_SHAPES}
    word, _, kind = use.partition(":")
    if word != "metered" or kind not in kinds or method in {"GET", WEBSOCKET, _ANY_METHOD}:
        raise ValueError(
            f"`{entry}` has to end with =free, =refused or, for POST, PUT, PATCH and DELETE, =metered: and one of "
            + ", ".join(sorted(kinds))
        )
    return method, path, Route(Use.METERED, kinds[kind])


def _known() -> Iterable[tuple[str, str, Route]]:
    for methods, path, shape in known_routes.METERED:
        for method in methods.split():
            yield method, path, Route(Use.METERED, shape) if shape in METERED_SHAPES else REFUSED
    for table, route in ((known_routes.FREE, FREE), (known_routes.REFUSED, REFUSED)):
        for methods, path in table:
            for method in methods.split():
                yield method, path, route


def _candidates(path: str, root_path: str) -> set[str]:
    """The paths by which apps may route it.

    Some compare the whole path, some what lies below their root path; under a mount, the root path is longer by the
    mount, and the path begins with it or, in older versions, does not.
    """
    root = root_path.rstrip("/")
    if not root:
        return {path}
    wholes = {path} if path == root or path.startswith(f"{root}/") else {path, root + path}
    roots = [root[: match.end()] for match in re.finditer(r"[^/]+", root)]
    stripped = {whole.removeprefix(root) or "/" for whole in wholes for root in roots if whole.startswith(f"{root}/")}
    return wholes | stripped
