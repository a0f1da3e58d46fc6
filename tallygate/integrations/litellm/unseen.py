"""Routes of LiteLLM's proxy that have a model run and show the request to no hook: refused before LiteLLM sees them."""

from __future__ import annotations

from typing import Any, Final

from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.refusals import refuse_route
from tallygate.integrations.routes import Routes, Use

UNSEEN: Final = (
    ("GET", "/health"),
    ("POST", "/auto_router/shadow_eval/start"),
    ("POST", "/auto_router/test_routing"),
    ("POST", "/health/test_connection"),
    ("POST", "/policy/templates/enrich"),
    ("POST", "/policy/templates/enrich/stream"),
    ("POST", "/policy/templates/suggest"),
    ("POST", "/queue/chat/completions"),
    ("POST", "/rag/ingest"),
    ("POST", "/rag/query"),
    ("POST", "/threads/{thread_id}/runs"),
    ("POST", "/usage/ai/chat"),
    ("POST", "/v1/rag/ingest"),
    ("POST", "/v1/rag/query"),
    ("POST", "/v1/threads/{thread_id}/runs"),
)
"""Methods and paths of these routes in LiteLLM 1.108.7, those for its admins alone among them.

`/health` asks each model that the caller's key opens."""


class _Refusal:
    """An app that refuses whatever it is asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_route(Use.UNKNOWN, scope, receive, send)


def refuse_unseen(router: Any, routes: Routes) -> None:
    """Puts a refusal of each in front of what a router of LiteLLM's serves, unless a setting says that it is free."""
    for method, path in UNSEEN:
        if not routes.frees(method, path.format(thread_id="any")):
            router.add_route(path, _Refusal(), methods=[method])
            router.routes.insert(0, router.routes.pop())
