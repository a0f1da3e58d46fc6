"""Usage and the records of requests as people see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.table import Table

from tallygate.cli.money import format_amount
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.export.records import cut_reason
from tallygate.metering.v1 import receipt_pb2, request_usage_pb2, token_usage_pb2, usage_bucket_pb2, usage_service_pb2

_PAYERS: Final = ("reserved", "trial", "billed", "unfunded")


def usage_table(answer: usage_service_pb2.QueryUsageResponse, groups: Sequence[str]) -> Table:
    """A line for each step and group, and where there are several the total; cost is in the account's currency.

    A node that is one version older says no total.
    """
    rows = [
        (time_text(one.start_time), *(one.group[name] for name in groups), *_figures(one)) for one in answer.buckets
    ]
    if len(rows) > 1 and answer.HasField("total"):
        rows.append(("total", *("" for _ in groups), *_figures(answer.total)))
    return table(("from", *groups, "requests", "input", "output", *_PAYERS, "cost", "denied"), rows)


def _figures(bucket: usage_bucket_pb2.UsageBucket) -> tuple[str, ...]:
    return (
        f"{bucket.request_count:,}",
        f"{input_tokens(bucket.usage):,}",
        f"{output_tokens(bucket.usage):,}",
        *(f"{getattr(bucket.payers, f'{payer}_tokens'):,}" for payer in _PAYERS),
        format_amount(bucket.cost_nanos),
        ", ".join(f"{reason} {count:,}" for reason, count in sorted(bucket.denial_counts.items())),
    )


def running_text(running: usage_service_pb2.RunningUsage) -> str:
    """What runs now."""
    tokens = input_tokens(running.usage) + output_tokens(running.usage)
    return f"{running.request_count:,} requests run now, with {tokens:,} tokens so far"


def request_table(parts: Iterable[request_usage_pb2.RequestUsage]) -> Table:
    """Records of requests. Nothing in it is cut off: the end of a name is what tells it from others."""
    return table(
        ("request", "service", "state", "started", "tokens", "who paid", "cost", "key", "node"),
        (
            (
                one.request_id,
                one.service,
                _state_text(one),
                time_text(one.start_time),
                f"{input_tokens(one.usage):,} in, {output_tokens(one.usage):,} out"
                + (" (estimated)" if one.estimated else ""),
                payers_text(one.receipt) if one.HasField("receipt") else "not settled yet",
                format_amount(one.receipt.cost_nanos) if one.HasField("receipt") else "",
                one.credential,
                one.node,
            )
            for one in parts
        ),
    )


def _state_text(one: request_usage_pb2.RequestUsage) -> str:
    """How it ended, and why it had to."""
    state = request_usage_pb2.SettlementState.Name(one.state).removeprefix("SETTLEMENT_STATE_")
    cut = ", ".join(filter(None, (cut_reason(one), one.cut.budget)))
    return f"{state} (cut: {cut})" if one.HasField("cut") else state


def payers_text(receipt: receipt_pb2.Receipt) -> str:
    """Who paid for how many tokens."""
    by = {
        "reservation": receipt.reserved,
        "free trial": receipt.trial,
        "by token": receipt.billed,
        "nobody": receipt.unfunded,
    }
    totals = {payer: input_tokens(usage) + output_tokens(usage) for payer, usage in by.items()}
    said = [f"{payer} {tokens:,}" for payer, tokens in totals.items() if tokens]
    if receipt.overrun_tokens:
        said.append(f"of it overrun {receipt.overrun_tokens:,}")
    return ", ".join(said) or "nothing to pay"


def input_tokens(usage: token_usage_pb2.TokenUsage) -> int:
    """Tokens of the input class."""
    return usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens


def output_tokens(usage: token_usage_pb2.TokenUsage) -> int:
    """Tokens of the output class."""
    return usage.output_tokens + usage.reasoning_tokens
