"""How values look on a page: amounts, tokens, times, and the words of the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from markupsafe import Markup

from tallygate._wire.amounts import NANOS, units_text
from tallygate.control.v1.budget_pb2 import Budget, BudgetUnit
from tallygate.control.v1.inference_service_pb2 import InferenceService
from tallygate.metering.v1.token_usage_pb2 import TokenUsage

_SHOWN_DECIMALS: Final = 4
"""Number of decimals of an amount that has more: the rest is in its title."""
SCALES: Final = ((1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
_US_PER_S: Final = 1_000_000
_CAPITALS: Final = {"tpm": "TPM", "api": "API"}
_LENGTHS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def amount(nanos: int, currency: str = "") -> Markup:
    """Money, exact in its title. What is rounded is marked, and rounded towards zero."""
    exact = _grouped(units_text(nanos))
    whole, _, decimals = exact.partition(".")
    text = exact
    if len(decimals) > _SHOWN_DECIMALS and abs(nanos) >= NANOS // 10**_SHOWN_DECIMALS:
        text = f"≈{whole}.{decimals[:_SHOWN_DECIMALS]}"
    return Markup('<data class="amount" value="{}" title="{} {} ({:,} nanos)">{} {}</data>').format(
        nanos, exact, currency, nanos, text, currency
    )


def exact(nanos: int, currency: str) -> Markup:
    """Money with all its decimals, for papers that add up."""
    return Markup('<data class="amount" value="{}">{} {}</data>').format(nanos, _grouped(units_text(nanos)), currency)


def tokens(count: int) -> str:
    """A whole number with its thousands set off."""
    return f"{count:,}"


def compact(count: int) -> Markup:
    """A number of tokens, short; exact in its title."""
    for scale, letter in SCALES:
        if abs(count) >= scale:
            tenths = abs(count) * 10 // scale
            text = f"{'-' if count < 0 else ''}{tenths // 10}.{tenths % 10}{letter}"
            break
    else:
        text = str(count)
    return Markup('<data value="{}" title="{:,}">{}</data>').format(count, count, text)


def moment(time: Timestamp | int) -> Markup:
    """A time: in UTC, until the browser writes its own zone's instead. An integer is in microseconds since 1970."""
    when = time.ToDatetime(UTC) if isinstance(time, Timestamp) else datetime.fromtimestamp(time / _US_PER_S, UTC)
    text = f"{when:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{:%Y-%m-%dT%H:%M:%SZ}" title="{}">{}</time>').format(when, text, text)


def typed_time(time: Timestamp) -> str:
    """A time as a field for times has it, in UTC; empty for none."""
    if not time.seconds:
        return ""
    when = time.ToDatetime(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}" if when.second else f"{when:%Y-%m-%dT%H:%M}"


def typed_units(count: int, budget: Budget) -> str:
    """Units of a budget as a field for them has it: of money, or of tokens."""
    return units_text(count) if budget.unit == BudgetUnit.BUDGET_UNIT_MONEY else str(count)


def duration(length: Duration) -> str:
    """A length of time in its greatest unit that leaves no rest: `30 days`."""
    seconds = length.seconds
    scale, unit = next((one for one in _LENGTHS if seconds and seconds % one[0] == 0), _LENGTHS[-1])
    count = seconds // scale
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def typed_length(length: Duration) -> str:
    """A length of time as it is typed into a field of days: a number of these, or one with its unit behind it."""
    seconds = length.seconds
    scale, unit = next((one for one in _LENGTHS if seconds % one[0] == 0), _LENGTHS[-1])
    return f"{seconds // scale}{'' if unit == 'day' else unit[0]}" if seconds else ""


def enum_name(message: Message, field: str) -> str:
    """The name of a field's value without what all names of its enum begin with: `PAY_AS_YOU_GO`."""
    return _name(message, field, getattr(message, field))


def enum_names(message: Message, field: str) -> list[str]:
    """The same of a field with several values."""
    return [_name(message, field, number) for number in getattr(message, field)]


def enum_choices(kind: Any) -> list[tuple[str, str]]:
    """All values of an enum of the contract: their names, as `enum_name` has them, and words."""
    first, *others = kind.DESCRIPTOR.values
    names = [value.name.removeprefix(first.name.removesuffix("UNSPECIFIED")) for value in others]
    return [(name, words(name)) for name in names]


def total(usage: TokenUsage) -> int:
    """All tokens, of whichever kind."""
    return (
        usage.input_tokens
        + usage.cached_input_tokens
        + usage.cache_write_tokens
        + usage.output_tokens
        + usage.reasoning_tokens
    )


def action_names(service: InferenceService) -> list[str]:
    """Names of what the caller may do about a service."""
    return enum_names(service, "actions")


def words(name: str) -> str:
    """The name of the contract as words: `Pay as you go`."""
    first, *rest = (_CAPITALS.get(word, word) for word in name.lower().replace("-", "_").split("_"))
    return " ".join([first[:1].upper() + first[1:], *rest])


def last(name: str) -> str:
    """The id at the end of a resource's name."""
    return name.rpartition("/")[2]


def percent(part: int, whole: int) -> int:
    """Whole percents, of which something, however little, is at least one."""
    return min(100, -(-part * 100 // whole)) if whole > 0 and part > 0 else 0


def _name(message: Message, field: str, number: int) -> str:
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    if kind is None or number not in kind.values_by_number:
        return str(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return kind.values_by_number[number].name.removeprefix(prefix)


def _grouped(units: str) -> str:
    whole, _, decimals = units.partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}.{decimals}"


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "action_names": action_names,
    "amount": amount,
    "compact": compact,
    "enum_name": enum_name,
    "enum_names": enum_names,
    "exact": exact,
    "last": last,
    "duration": duration,
    "moment": moment,
    "percent": percent,
    "tokens": tokens,
    "total": total,
    "typed_time": typed_time,
    "typed_units": typed_units,
    "words": words,
}
"""Filters of templates, by their names there."""
