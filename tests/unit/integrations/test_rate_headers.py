"""The x-ratelimit headers: figures of callers' own rules, in the words of the OpenAI API."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallygate.client import Denial, Denied, RateStatus
from tallygate.integrations.openai.errors import refusal
from tallygate.integrations.openai.rate_headers import rate_headers, time_text

OWN = RateStatus(
    rate_rule="accounts/acme/rateRules/per-key",
    place="accounts/acme/keys/app",
    metric="REQUESTS",
    limit_units=60,
    period_ms=60_000,
    remaining_units=12,
    reset_after_ms=48_000,
)


def said(rate: RateStatus | None) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in rate_headers(rate)}


def test_figures_are_said_in_the_unit_of_the_metric() -> None:
    """Requests and tokens have headers of their own."""
    assert said(OWN) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-requests": "48s",
    }
    for metric in ("INPUT_TOKENS", "OUTPUT_TOKENS", "TOTAL_TOKENS"):
        assert said(replace(OWN, metric=metric))["x-ratelimit-limit-tokens"] == "60"


@pytest.mark.parametrize("place", ["accounts/acme", "accounts/acme/teams/one", "models/m"])
def test_others_figures_are_not_said(place: str) -> None:
    """What hangs on a model, an account or a team tells of what others do."""
    assert said(replace(OWN, place=place)) == {}


def test_nothing_is_said_of_requests_at_once() -> None:
    """Nor where no rule counts: there are no headers for it."""
    assert said(replace(OWN, metric="CONCURRENT_REQUESTS", period_ms=None, reset_after_ms=None)) == {}
    assert said(None) == {}


@pytest.mark.parametrize(
    ("length_ms", "text"),
    [
        (0, "0ms"),
        (20, "20ms"),
        (1_000, "1s"),
        (8_640, "8.64s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (3_601_500, "1h0m1.5s"),
        (86_400_000, "24h0m0s"),
    ],
)
def test_times_are_as_clients_read_them(length_ms: int, text: str) -> None:
    """Hours, minutes and seconds, as far as they are needed."""
    assert time_text(length_ms) == text


def test_a_refusal_says_the_figures_of_the_callers_own_rule() -> None:
    """Beside the time to wait; of another's rule it says only that."""
    denial = Denial(
        "REQUEST_RATE", "Slower.", retryable=True, retry_after_ms=1_200, rate=replace(OWN, remaining_units=0)
    )
    headers = {name.decode(): value.decode() for name, value in refusal(Denied(denial)).headers}
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("60", "0")
    assert headers["x-ratelimit-reset-requests"] == "48s"
    others = replace(denial, rate=replace(OWN, place="models/m", limit_units=999))
    headers = {name.decode(): value.decode() for name, value in refusal(Denied(others)).headers}
    assert "x-ratelimit-limit-requests" not in headers
    assert "999" not in " ".join(headers.values())
    assert headers["retry-after"] == "2"


def test_slots_of_a_silent_node_are_requests_that_come_back() -> None:
    """With the time that the denial says; what others hold of a payer or a budget is tokens."""
    slots = replace(OWN, metric="CONCURRENT_REQUESTS", period_ms=None, remaining_units=0, reset_after_ms=None)
    for rate, unit in ((slots, "requests"), (None, "tokens")):
        denial = Denial("BUDGET_CONTENDED", "Others have it.", retryable=True, retry_after_ms=26_100, rate=rate)
        response = refusal(Denied(denial))
        headers = {name.decode(): value.decode() for name, value in response.headers}
        assert (response.status, headers["retry-after"], headers["retry-after-ms"]) == (429, "27", "26100")
        assert {name for name in headers if "ratelimit" in name} == {
            f"x-ratelimit-remaining-{unit}",
            f"x-ratelimit-reset-{unit}",
        }
