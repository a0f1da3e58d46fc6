"""What makes a report malformed, at the limits."""

from typing import Any

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.report import LABELS_MAX, TOKENS_MAX, Phase, Report, problem

SERVICE = "accounts/acme/services/chat"


def report(**values: Any) -> Report:
    said: dict[str, Any] = {"request_id": "r1", "service": SERVICE, "phase": Phase.FINISH, "counts": Counts()}
    return Report(**(said | values))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"request_id": "x" * 64},
        {"request_id": "ü" * 32},
        {"request_id": " \n\t"},
        {"counts": Counts(*[TOKENS_MAX] * 5)},
        {"max_output_tokens": 0},
        {"max_output_tokens": TOKENS_MAX},
        {"labels": tuple((f"k{number}", "v" * 64) for number in range(LABELS_MAX))},
        {"labels": (("k" * 64, ""),)},
        {"key_sha256": b"k" * 32, "model": "ü" * 128, "source_address": "ü" * 128},
        {"key_sha256": b"k" * 32, "service": ""},
    ],
)
def test_what_is_within_the_limits_is_taken(values: dict[str, Any]) -> None:
    """Exactly at each limit."""
    assert problem(report(**values)) is None


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"request_id": ""}, "request_id is empty"),
        ({"request_id": "x" * 65}, "request_id is longer than 64 bytes"),
        ({"request_id": "ü" * 32 + "x"}, "request_id is longer than 64 bytes"),
        ({"request_id": "a\0b"}, "request_id has a zero byte"),
        ({"service": ""}, "service is missing"),
        ({"service": "accounts/" + "x" * 248}, "service is longer than 256"),
        ({"phase": None}, "phase is none of"),
        ({"counts": Counts(5, -1)}, "negative"),
        ({"counts": Counts(reasoning=-1)}, "negative"),
        ({"counts": Counts(TOKENS_MAX + 1)}, "above 100,000,000"),
        ({"counts": Counts(output=1 << 62)}, "above 100,000,000"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"max_output_tokens": TOKENS_MAX + 1}, "max_output_tokens"),
        ({"labels": tuple((f"k{number}", "") for number in range(LABELS_MAX + 1))}, "more than 8"),
        ({"labels": (("k" * 65, ""),)}, "longer than 64"),
        ({"labels": (("k", "ü" * 33),)}, "longer than 64"),
        ({"labels": (("", "v"),)}, "empty key"),
        ({"labels": (("k", "\0"),)}, "zero byte"),
        ({"key_sha256": b"k" * 31}, "credential_sha256 is not 32 bytes"),
        ({"key_sha256": b"k" * 33}, "credential_sha256 is not 32 bytes"),
        ({"model": "ü" * 128 + "x"}, "model is longer than 256 bytes"),
        ({"model": "a\0b"}, "model has a zero byte"),
        ({"source_address": "ü" * 128 + "x"}, "source_address is longer than 256 bytes"),
    ],
)
def test_what_is_beyond_them_is_named(values: dict[str, Any], what: str) -> None:
    """One sentence says which field, and what is wrong with it."""
    sentence = problem(report(**values))
    assert sentence is not None
    assert what in sentence
    assert sentence.endswith(".")
