"""Lists that come in pages, read to their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tallygate.cli.rpc import TIMEOUT_S

Response = TypeVar("Response")

PAGE_SIZE = 1_000


def all_pages(call: Callable[..., Response], request: Any, field: str) -> Response:
    """One response with the elements of every page in its repeated field."""
    request.page_size = PAGE_SIZE
    whole: Any = None
    while True:
        page: Any = call(request, timeout=TIMEOUT_S)
        if whole is None:
            whole = page
        else:
            getattr(whole, field).extend(getattr(page, field))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            whole.next_page_token = ""
            return whole  # type: ignore[no-any-return]  # what `call` returned first
