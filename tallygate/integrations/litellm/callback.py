"""The callback that LiteLLM's proxy is given: `callbacks: tallygate.integrations.litellm.callback.metering`.

Each process that LiteLLM starts imports this module, so that each has a client, which connects with its first call.
"""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException

from tallygate._settings_file import with_settings_file
from tallygate.integrations import environment
from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.litellm.call import MeteredCall, RefusedError, bridge, error_in
from tallygate.integrations.litellm.reading import (
    LOGGING,
    PATHS,
    RUN_NO_MODEL,
    changes_of,
    is_from_cache,
    logging_object,
    read_body,
    read_scope,
    write_body,
)
from tallygate.integrations.litellm.unseen import refuse_unseen
from tallygate.integrations.openai import errors
from tallygate.integrations.openai.request_json import BadRequestError
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.integrations.routes import Use

_CLIENT_LEFT = 499
HOOK_WITHIN_S = 2.0
"""Time within which a hook comes after LiteLLM has handed a call on to another task, as it does to send keepalives."""


class _RefusedCallError(ProxyException):  # type: ignore[misc]  # LiteLLM is not installed where this is checked
    """A refusal as LiteLLM sends it: by itself it would put the status in place of the code."""

    def __init__(self, refused: RefusedError) -> None:
        said = error_in(refused.body)
        super().__init__(
            message=said["message"],
            type=said["type"],
            param=said.get("param"),
            code=refused.status,
            headers=refused.headers,
        )
        self._said = said

    def to_dict(self) -> dict[str, Any]:
        """The error as clients of the API read it."""
        return self._said


class MeteringCallback(CustomLogger):  # type: ignore[misc]  # as above
    """Hooks of LiteLLM's proxy (1.110), which come in the order in which they stand here.

    LiteLLM calls a hook only where it stands in the class itself, so that a class derived from this one meters nothing.
    """

    def __init__(self) -> None:
        """Made by the environment, as the middleware is; it connects with the first call."""
        super().__init__()
        self._metered = MeteringMiddleware(
            bridge, stream_usage=StreamUsage.FINAL.value, asks_server_for_input=False, whole_answers="hold"
        )
        self._routes = environment.routes_from(with_settings_file(os.environ))
        proxy = sys.modules.get("litellm.proxy.proxy_server")
        if proxy is not None:
            refuse_unseen(proxy.app.router, self._routes)
        self._calls: weakref.WeakKeyDictionary[object, MeteredCall] = weakref.WeakKeyDictionary()
        self._serving: weakref.WeakKeyDictionary[asyncio.Task[Any], MeteredCall] = weakref.WeakKeyDictionary()

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: object, data: dict[str, Any], call_type: str
    ) -> None:
        """Authorises a call, before any model is chosen; retries and fallbacks of LiteLLM's come after it."""
        if call_type in RUN_NO_MODEL:
            return
        try:
            await self._authorize(data, call_type, getattr(user_api_key_dict, "api_key", None))
        except RefusedError as refused:
            raise _RefusedCallError(refused) from None

    async def async_pre_call_deployment_hook(self, kwargs: Mapping[str, Any], call_type: object) -> None:
        """A model is asked: the first time, again, or another one."""
        call = self._call_of(kwargs)
        if call is not None:
            call.has_begun = True

    async def async_post_call_response_headers_hook(
        self, data: Mapping[str, Any], user_api_key_dict: object, response: object, **_: object
    ) -> dict[str, str] | None:
        """Adds the request's id and its rate to an answer."""
        call = self._call_of(data)
        return None if call is None or response is None else call.headers

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: object, response: Any, request_data: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Counts a stream, ends it where it must stop, and records it."""
        call = self._call_of(request_data)
        if call is None:
            async for chunk in response:
                yield chunk
            return
        async with aclosing(call.pass_on(response)) as shown:
            async for chunk in shown:
                yield chunk

    async def async_post_call_success_hook(
        self, data: Mapping[str, Any], user_api_key_dict: object, response: object
    ) -> None:
        """Records an answer that came as a whole; one out of LiteLLM's cache made no model run."""
        call = self._call_of(data)
        if call is not None:
            await (call.fail() if is_from_cache(response) else call.record(response))

    async def async_post_call_failure_hook(
        self,
        request_data: Mapping[str, Any],
        original_exception: Exception,
        user_api_key_dict: object,
        traceback_str: str | None = None,
    ) -> None:
        """Records that there was no answer, after LiteLLM's last attempt; also called for what was refused here.

        LiteLLM has taken its object out of the call by now: the call is that of the task that serves its client.
        """
        task = asyncio.current_task()
        call = None if task is None else self._serving.get(task)
        if call is not None and getattr(original_exception, "status_code", None) == _CLIENT_LEFT:
            call.abandon()
        elif call is not None:
            await call.fail()

    def _call_of(self, data: Mapping[str, Any]) -> MeteredCall | None:
        logging = data.get(LOGGING)
        return None if logging is None else self._calls.get(logging)

    async def _authorize(self, data: dict[str, Any], call_type: str, api_key: str | None) -> None:
        scope = read_scope(data, call_type, api_key)
        if call_type not in PATHS:
            if self._routes.judge(scope).use is not Use.FREE:
                raise _refused(errors.unknown_route(scope["method"], scope["path"]))
            return
        try:
            fields, logging = read_body(data), logging_object(data)
        except BadRequestError as error:
            raise _refused(errors.bad_request(error.message, error.param)) from None
        call = MeteredCall(scope, write_body(fields))
        changes = changes_of(fields, await call.authorize(self._metered))
        self._calls[logging] = call
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = call
        _abandon_after(task, call)
        data.update(changes)


def _refused(answer: errors.ErrorResponse) -> RefusedError:
    headers = {name.decode(): value.decode() for name, value in answer.headers if not name.startswith(b"content-")}
    return RefusedError(answer.status, headers, answer.body)


def _abandon_after(serving: asyncio.Task[Any], call: MeteredCall) -> None:
    """Ends a call that no hook has spoken of when what serves its client is over: it left before anything came."""
    loop = asyncio.get_running_loop()
    serving.add_done_callback(lambda _: loop.call_later(HOOK_WITHIN_S, call.abandon))


metering = MeteringCallback()
"""The callback, to be named in LiteLLM's configuration."""
