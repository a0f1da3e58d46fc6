"""The x-ratelimit headers, by which clients of the OpenAI API slow down before they are refused."""

from __future__ import annotations

from typing import Final

from tallygate.client import RateStatus

_UNIT_OF_METRIC: Final = {
    "REQUESTS": "requests",
    "INPUT_TOKENS": "tokens",
    "OUTPUT_TOKENS": "tokens",
    "TOTAL_TOKENS": "tokens",
}
"""Unit in the headers' names, by metric. The headers have no words for how many requests run at once."""

_SHOWN_PLACES: Final = ("/keys/", "/services/")
"""Parts of the names of places whose figures callers may see: their own. Those of a model or a team tell of others."""


def rate_headers(rate: RateStatus | None) -> list[tuple[bytes, bytes]]:
    """The headers that say how near a rate rule is to its limit; none where that is nobody's business."""
    if rate is None or rate.metric not in _UNIT_OF_METRIC or not any(part in rate.place for part in _SHOWN_PLACES):
        return []
    unit = _UNIT_OF_METRIC[rate.metric]
    headers = [
        (f"x-ratelimit-limit-{unit}", str(rate.limit_units)),
        (f"x-ratelimit-remaining-{unit}", str(rate.remaining_units)),
    ]
    if rate.reset_after_ms is not None:
        headers.append((f"x-ratelimit-reset-{unit}", time_text(rate.reset_after_ms)))
    return [(name.encode(), value.encode()) for name, value in headers]


def time_text(length_ms: int) -> str:
    """A length of time as these headers have it: `20ms`, `1s`, `8.64s`, `6m0s`, `1h0m0s`."""
    if length_ms < 1_000:  # noqa: PLR2004  # a second
        return f"{length_ms}ms"
    minutes, rest_ms = divmod(length_ms, 60_000)
    seconds = f"{rest_ms // 1_000}.{rest_ms % 1_000:03}".rstrip("0").rstrip(".")
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"
