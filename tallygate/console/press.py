"""What is done by one press: a page says what it will do, and its form does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from tallygate.console.routes import at
from tallygate.console.visit import Visit

DANGER: Final = "danger main"
"""Class of the button of what takes something away."""


@dataclass(frozen=True, slots=True)
class Press:
    """One press.

    Attributes:
        path: Of its page; its parts are known to `name`, `title` and `back`.
        name: The resource that it is about.
        title: What is asked.
        says: What it will do, a paragraph each.
        button: What the button says.
        done: What the next page says.
        back: The page that is next, and the one for whoever leaves it.
        stub: The service of the contract.
        request: The request of the call.
        field: The field of the request that has the name.
        kind: Classes of the button.
    """

    path: str
    name: str
    title: str
    says: tuple[str, ...]
    button: str
    done: str
    back: str
    stub: type[Any]
    request: type[Any]
    field: str = "name"
    kind: str = "main"

    @property
    def route(self) -> Route:
        """The route of its page."""
        return at(self.path, _page(self), _change(self))


def _page(press: Press) -> Callable[[Visit], Awaitable[Response]]:
    async def show(visit: Visit) -> Response:
        parts = visit.request.path_params
        return visit.page("sure.html", press=press, title=press.title.format(**parts), back=press.back.format(**parts))

    return show


def _change(press: Press) -> Callable[[Visit], Awaitable[Response]]:
    async def change(visit: Visit) -> Response:
        parts = visit.request.path_params
        rpc = getattr(press.stub(visit.control), press.request.DESCRIPTOR.name.removesuffix("Request"))
        named = {press.field: press.name.format(**parts)}
        await rpc(press.request(idempotency_key=visit.idempotency_key, **named))
        return visit.done(press.done, press.back.format(**parts))

    return change
