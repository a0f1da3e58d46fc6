"""Routes of LiteLLM's proxy that have a model run and show the request to no hook: refused before LiteLLM sees them."""

from __future__ import annotations

from typing import Any, Final

from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.refusals import refuse_route
from tallygate.integrations.routes import Routes, Use

UNSEEN: Final = (
    "/queue/chat/completions",
    "/rag/ingest",
    "/rag/query",
    "/threads/{thread_id}/runs",
    "/v1/rag/ingest",
    "/v1/rag/query",
    "/v1/threads/{thread_id}/runs",
)
"""Paths of these routes in LiteLLM 1.108.7, all of them for POST."""


class _Refusal:
    """An app that refuses whatever it is asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_route(Use.UNKNOWN, scope, receive, send)


def refuse_unseen(router: Any, routes: Routes) -> None:
    """Puts a refusal of each in front of what a router of LiteLLM's serves, unless a setting says that it is free."""
    for path in UNSEEN:
        asked = {"type": "http", "method": "POST", "path": path.format(thread_id="any")}
        if routes.judge(asked).use is not Use.FREE:
            router.add_route(path, _Refusal(), methods=["POST"])
            router.routes.insert(0, router.routes.pop())
