"""The upstream behind Envoy as an ASGI app: what middleware lets through goes on, and its answer comes back."""

from __future__ import annotations

from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.envoy.passing import PASSING, PassingRequest
from tallygate.integrations.event_ends import end_of_event, events_in


class EnvoyUpstream:
    """Passes each request on, and its answer back as it comes."""

    is_asked_once = True
    """Whether a request that the server has refused cannot be sent again, in another form: Envoy sends it once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "lifespan":
            raise NotImplementedError("Envoy has its own")
        passing: PassingRequest = scope[PASSING]
        if scope is passing.scope:
            # The middleware passes free requests on as they are; of those that it meters it makes others.
            await _pass_free(passing, receive, send)
            return
        message = await receive()
        # Compressed answers could not be counted, nor ended in the middle.
        await passing.pass_head([*scope["headers"], (b"accept-encoding", b"identity")])
        await passing.pass_body(message["body"], more=False)
        await pass_answer(passing, receive, send)


async def pass_answer(passing: PassingRequest, receive: Receive, send: Send) -> None:
    """Passes the answer on, read by read; of each, event by event."""
    end, more = b"", True
    while more:
        part = await passing.next_of_answer()
        if part is None:
            # By this the middleware hears of it.
            await receive()
            return
        if part["type"] == "http.response.start":
            end = end_of_event(dict(part["headers"]).get(b"content-type", b"").decode("latin-1"))
            await send(part)
            if passing.has_no_body:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            continue
        body, more = part["body"], part["more_body"]
        with passing.gathering():
            for event in events_in(body, end):
                await send({**part, "body": event, "more_body": True})
            if not more:
                await send({**part, "body": b""})
        await passing.flush()


async def _pass_free(passing: PassingRequest, receive: Receive, send: Send) -> None:
    """Lets a request pass that nobody meters.

    What Envoy has sent here of a body by the time that the stream ends reaches nobody: bodies are passed on as well.
    """
    if not passing.has_body or passing.scope["type"] == "websocket":
        passing.let_pass()
        return
    await passing.pass_head(passing.scope["headers"])
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if message["type"] == "http.request":
            await passing.pass_body(message["body"], more=more)
    await pass_answer(passing, receive, send)
