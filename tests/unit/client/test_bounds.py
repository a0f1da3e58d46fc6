"""What a client does not even send."""

from typing import Any

import pytest

from tallygate.client.bounds import (
    LABEL_BYTES_MAX,
    LABELS_MAX,
    NAME_BYTES_MAX,
    TOKENS_MAX,
    check_sendable,
    hash_of,
    problem,
)
from tallygate.client.outbox import REPORTS_PER_MESSAGE_MAX, RESUME_BYTES_PER_MESSAGE, Outbox
from tallygate.client.state import RequestState
from tallygate.client.values import Grant, Usage

RESUME_BYTES_MAX = 4_096
SERVICE = "accounts/acme/services/chat"


def request(**values: Any) -> RequestState:
    return RequestState(**({"request_id": "r1", "service": SERVICE} | values))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"request_id": "ü" * 32},
        {"service": "x" * 256, "key_sha256": b"k" * 32, "model": "ü" * 128, "source_address": "x" * 256},
        {"service": "", "key_sha256": b"k" * 32},
        {"labels": {f"{number}" + "k" * 63: "v" * 64 for number in range(8)}},
        {"input_tokens": TOKENS_MAX, "cached_input_tokens": TOKENS_MAX, "max_output_tokens": 0},
    ],
)
def test_what_a_node_takes_is_sent(values: dict[str, Any]) -> None:
    """At each limit."""
    assert problem(request(**values)) == ""


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"request_id": "x" * 65}, "request_id"),
        ({"request_id": "ü" * 33}, "request_id"),
        ({"request_id": "\ud800"}, "request_id"),
        ({"service": "x" * 257}, "service"),
        ({"service": ""}, "A request needs a service"),
        ({"key_sha256": hash_of("x" * 5_000_000)}, "credential"),
        ({"key_sha256": hash_of("ü" * 129)}, "credential"),
        ({"key_sha256": hash_of("\ud800")}, "credential"),
        ({"key_sha256": b"k" * 31}, "credential"),
        ({"model": "ü" * 129}, "model"),
        ({"source_address": "x" * 257}, "source_address"),
        ({"labels": {"k" * 65: "v"}}, "a key of labels"),
        ({"labels": {"k": "\udfff"}}, "a value of labels"),
        ({"labels": {f"{number}": "" for number in range(9)}}, "labels"),
        ({"input_tokens": TOKENS_MAX + 1}, "A count"),
        ({"cache_write_tokens": -1}, "A count"),
        ({"max_output_tokens": 1 << 80}, "A count"),
        ({"input_tokens": 1.5}, "A count"),
        ({"hold_for_s": 1}, "hold_for_s"),
        ({"min_output_tokens": 1}, "hold_for_s and min_output_tokens"),
        ({"whole": True, "hold_for_s": 0}, "hold_for_s"),
        ({"whole": True, "hold_for_s": 3_601}, "hold_for_s"),
        ({"whole": True, "hold_for_s": float("nan")}, "hold_for_s"),
        ({"whole": True, "min_output_tokens": -1}, "min_output_tokens"),
        ({"whole": True, "min_output_tokens": TOKENS_MAX + 1}, "min_output_tokens"),
    ],
)
def test_what_no_node_takes_is_not(values: dict[str, Any], named: str) -> None:
    """One sentence names it."""
    sentence = problem(request(**values))
    assert sentence.startswith(named)
    assert sentence.endswith(".")


@pytest.mark.parametrize("count", [-1, 1 << 63, 1.5, None, "7"])
def test_counts_that_no_report_can_hold(count: Any) -> None:
    """They are an error of whoever says them, before anything changes."""
    with pytest.raises(ValueError, match="has a count that is no whole number"):
        check_sendable(Usage(output_tokens=count))


@pytest.mark.parametrize("resume_bytes", [1_000, RESUME_BYTES_MAX])
def test_the_largest_message_fits(resume_bytes: int) -> None:
    """As many reports as go into one, all of them introduced anew with all that one may say; fewer with long tokens."""
    labels = {f"{number}".rjust(LABEL_BYTES_MAX, "k"): "v" * LABEL_BYTES_MAX for number in range(LABELS_MAX)}
    outbox = Outbox(heartbeat_ns=1)
    for number in range(REPORTS_PER_MESSAGE_MAX + 1):
        state = request(
            request_id=f"{number:064}",
            service="s" * NAME_BYTES_MAX,
            key_sha256=b"c" * 32,
            model="m" * NAME_BYTES_MAX,
            source_address="a" * NAME_BYTES_MAX,
            labels=labels,
            max_output_tokens=TOKENS_MAX,
            whole=True,
            hold_for_s=3_599.999_999_999,
            min_output_tokens=TOKENS_MAX,
        )
        state.set_usage(Usage(*[TOKENS_MAX] * 5), estimated=True)
        assert problem(state) == ""
        state.grant = Grant(TOKENS_MAX, is_final=False, valid_until_ns=0, resume=b"r" * resume_bytes)
        outbox.queue(state)
    message = outbox.take(0)
    assert message is not None
    assert len(message.reports) == min(REPORTS_PER_MESSAGE_MAX, RESUME_BYTES_PER_MESSAGE // resume_bytes)
    assert message.ByteSize() < 4 * 1024 * 1024
