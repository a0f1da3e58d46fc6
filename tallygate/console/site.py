"""The site: what all requests share, and how pages are made of templates."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from tallygate._server.clock import Clock
from tallygate.console import actions, charts, show
from tallygate.console.attempts import Attempts
from tallygate.console.calls import Link
from tallygate.console.nav import Nav
from tallygate.console.sessions import RandomText, Sessions
from tallygate.console.traffic_log import TrafficLog

_HERE: Final = Path(__file__).parent
_ASSETS: Final = "/static/"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What whoever runs the console says.

    Attributes:
        public_url: Where browsers open it, without a path; empty for wherever it listens.
        inference_url: Where inference servers are reached, for code samples; empty where that is not known.
        has_tls: Whether browsers speak TLS to it, by itself or to what stands in front of it.
    """

    public_url: str = ""
    inference_url: str = ""
    has_tls: bool = False


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages need, with the digest of its content in its address."""

    content: bytes
    media_type: str
    digest: str


@cache
def _read_assets() -> dict[str, Asset]:
    return {path.name: _asset(path) for path in (_HERE / "static").iterdir() if path.suffix in (".css", ".js", ".svg")}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    media_type = mimetypes.types_map.get(path.suffix, "text/plain")
    return Asset(content, media_type, hashlib.sha256(content).hexdigest()[:12])


def _asset_address(name: str) -> str:
    return f"{_ASSETS}{name}?{_read_assets()[name].digest}"


@cache
def _environment() -> Environment:
    """The templates, which take longer to compile than all else that a console begins with: once for a process."""
    made = Environment(
        autoescape=True,
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: Mapping[str, Callable[..., Any]] = show.FILTERS
    made.filters.update(filters)
    made.globals.update(charts.GLOBALS)
    made.globals.update({"asset": _asset_address, "buttons": actions.buttons, "cures": actions.cures})
    made.globals["ui"] = made.get_template("ui.html").module
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """The console as all its requests know it."""

    settings: ConsoleSettings
    clock: Clock
    random_text: RandomText
    control: Link
    metering: Link
    nav: Nav
    sessions: Sessions
    attempts: Attempts = field(default_factory=Attempts)
    assets: Mapping[str, Asset] = field(default_factory=_read_assets)
    templates: Environment = field(default_factory=_environment)
    traffic: TrafficLog = field(default_factory=TrafficLog)

    def html(self, template: str, values: Mapping[str, Any], part: str = "") -> str:
        """A page, or one block of it: what is read again while the page is open."""
        found = self.templates.get_template(template)
        if not part:
            return found.render(values)
        return "".join(found.blocks[part](found.new_context(dict(values))))

    def has_part(self, template: str, part: str) -> bool:
        """Whether there is such a block."""
        return part in self.templates.get_template(template).blocks

    async def serve_asset(self, request: Request) -> Response:
        """Answer with a file; a browser keeps it, since another content has another address."""
        asset = self.assets.get(request.path_params["name"])
        if asset is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.media_type, headers=headers)
