"""The rows of a comparison, for terminal and report alike: what is said of each outcome, in words and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from tallygate.cli.money import format_amount
from tallygate.whatif.outcome import Outcome, ServiceOutcome

Row: TypeAlias = tuple[str, list[str]]
"""A title, and a cell for each outcome; an empty cell where there is nothing to say."""


def account_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """What is said of the account as a whole."""
    return _with_content(
        [
            ("total cost", [format_amount(one.total_nanos, one.currency) for one in outcomes]),
            ("balance at the end", [format_amount(one.balance_nanos, one.currency) for one in outcomes]),
            ("overdue since", [_moment(one.overdue_us, one.start_us) for one in outcomes]),
        ]
    )


def service_rows(outcomes: Sequence[Outcome], name: str) -> list[Row]:
    """What is said of the service of that name; nothing in the column of settings that have none."""
    columns = [(outcome.services.get(name, ServiceOutcome(name)), outcome) for outcome in outcomes]
    rows = [
        ("cost of tokens", [_amount(one.paid.cost_nanos, of.currency) for one, of in columns]),
        ("cost of reservations", [_amount(one.reservation_nanos, of.currency) for one, of in columns]),
        ("debt", [_amount(one.paid.debt_nanos, of.currency) for one, of in columns]),
        ("allowed", [f"{one.allowed:,} of {one.requests:,}" if one.requests else "" for one, _ in columns]),
        *_by_name("denied:", columns, lambda one: one.denials, _denied),
        *_by_name(
            "would deny:", columns, lambda one: one.would_deny, lambda one, name, _: _count(one.would_deny[name])
        ),
        *_by_name("stopped:", columns, lambda one: one.stops, lambda one, name, _: _count(one.stops[name])),
        ("cut short", [_count(one.cut_short) for one, _ in columns]),
    ]
    rows += [
        (f"{payer} tokens", [_count(one.paid.by_payer[payer]) for one, _ in columns])
        for payer in ("reserved", "trial", "billed", "unfunded")
    ]
    rows += [
        ("trial left", [_trial_left(one) for one, _ in columns]),
        ("trial over", [_moment(one.trial_end_us, of.start_us) for one, of in columns]),
        ("reservation used", [_used(one) for one, _ in columns]),
        ("cheapest reservation", [_cheapest(one, of.currency) for one, of in columns]),
    ]
    return _with_content(rows)


def names_of(outcomes: Sequence[Outcome]) -> list[str]:
    """The services of all settings, in their order."""
    return list(dict.fromkeys(name for outcome in outcomes for name in outcome.services))


def _by_name(
    title: str,
    columns: Sequence[tuple[ServiceOutcome, Outcome]],
    counts: Callable[[ServiceOutcome], Mapping[str, int]],
    said: Callable[[ServiceOutcome, str, Outcome], str],
) -> Iterator[Row]:
    """A row for each name that is counted in any column."""
    for name in dict.fromkeys(name for one, _ in columns for name in counts(one)):
        yield f"{title} {name}", [said(one, name, outcome) for one, outcome in columns]


def _with_content(rows: list[Row]) -> list[Row]:
    return [(title, cells) for title, cells in rows if any(cells)]


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _amount(nanos: int, currency: str) -> str:
    return format_amount(nanos, currency) if nanos else ""


def _moment(moment_us: int | None, start_us: int) -> str:
    """A moment, and how long after the first request it was."""
    if moment_us is None:
        return ""
    shown = datetime.fromtimestamp(moment_us // 1_000_000, UTC)
    minutes, seconds = divmod(max(0, moment_us - start_us) // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{shown:%Y-%m-%d %H:%M:%S}, after {hours}:{minutes:02}:{seconds:02}"


def _denied(service: ServiceOutcome, reason: str, outcome: Outcome) -> str:
    count = service.denials[reason]
    return f"{count:,}, first {_moment(service.first_denials_us[reason], outcome.start_us)}" if count else ""


def _trial_left(service: ServiceOutcome) -> str:
    return "" if service.trial_left_tokens is None else f"{service.trial_left_tokens:,} tokens"


def _used(service: ServiceOutcome) -> str:
    use = service.reservation_use
    if use is None:
        return ""
    shares = (("input", use.used_input, use.accrued_input), ("output", use.used_output, use.accrued_output))
    return ", ".join(f"{used * 100 // had} % of {which}" for which, used, had in shares if had)


def _cheapest(service: ServiceOutcome, currency: str) -> str:
    found = service.cheapest
    if found is None:
        return ""
    without = format_amount(found.without_nanos, currency)
    days = f"{found.days} days" if found.days > 1 else "a day"
    if not (found.input_tpm or found.output_tpm):
        return f"none: {without} by token is less, over {days}"
    both = format_amount(found.reservation_nanos + found.overflow_nanos, currency)
    return (
        f"{found.input_tpm:,} input and {found.output_tpm:,} output TPM for {days}: {both} in all, {without} by token"
    )
