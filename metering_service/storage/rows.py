"""Records as rows of the tables, and back."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, FromClause, RowMapping, Select, select

from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.counts_page import PAGE_BITS, SLOT_BITS, counts_at
from metering_service.domain.cut import Cut
from metering_service.domain.decision import Reason
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    DenialKey,
    LeaseRecord,
    RequestRecord,
    RequestState,
    ShownRecord,
)
from metering_service.domain.stamp import hour_of
from metering_service.storage.schema import IS_OPEN, KINDS, PAYERS, requests
from metering_service.storage.schema import counts_pages as pages

Labels = tuple[tuple[str, str], ...]
Row = tuple[Any, ...]

SUMS: Final = (*(f"{payer}_tokens" for payer in PAYERS), "overrun_tokens", "cost_nanos", "debt_nanos", "request_count")
"""Columns of `minute_usage` beside the counts by kind, named as in `AggregateDelta`."""

PAGE_DATA: Final = "page_data"
# fmt: off
_NODES_ALONE: Final = frozenset((
    "epoch", "held", "price", "debt_allowed", "predecessor_part", "base_input_tokens", "base_output_tokens", "ranks",
    "hold_for_us", "hour_us", "pots",
))
# fmt: on
SHOWN: Final = tuple(column for column in requests.c if column.name not in _NODES_ALONE)
"""Columns of a `ShownRecord`, in their order."""
_NOTHING_HELD: Final = HeldUnits()
_STATES: Final = {state.value: state for state in RequestState}


@lru_cache(maxsize=4096)  # Few label sets and prices repeat in very many rows; this halves the time a row takes.
def labels_text(labels: Labels) -> str:
    """The one text for these labels, in whatever order they come."""
    return json.dumps(dict(labels), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def labels_of(text: str) -> Labels:
    """Labels sorted by key."""
    return tuple(sorted(json.loads(text).items()))


def with_counts(source: FromClause = requests, columns: Sequence[Column[Any]] = tuple(requests.c)) -> Select[Any]:
    """Rows of `requests`, each with the page that has its latest counts, if it runs and one has.

    `source`: the table, or a join with it. One statement, since a request that ends between two statements gives its
    place away.
    """
    page = requests.c.place % (1 << SLOT_BITS) // (1 << PAGE_BITS)
    its = (pages.c.node == requests.c.node) & (pages.c.epoch == requests.c.epoch) & (pages.c.page == page)
    query = select(*columns, pages.c.data.label(PAGE_DATA))
    return query.select_from(source.join(pages, IS_OPEN & its, isouter=True))


def request_row(record: RequestRecord) -> Row:
    """A row of `requests`, in the order of its columns."""
    receipt = record.receipt
    return (
        record.service,
        record.request_id,
        record.part,
        record.service_uid,
        record.node,
        record.epoch,
        record.state.value,
        *record.counts,
        _counts_text(receipt.reserved),
        _counts_text(receipt.trial),
        _counts_text(receipt.billed),
        _counts_text(receipt.unfunded),
        receipt.overrun_tokens,
        receipt.cost_nanos,
        receipt.debt_nanos,
        receipt.price_version,
        receipt.revision,
        _held_text(record.held),
        _price_text(record.price_nanos_per_million),
        record.debt_allowed,
        record.estimated,
        record.credential,
        labels_text(record.labels),
        record.start_us,
        record.booked_us,
        record.predecessor_part,
        record.base_input_tokens,
        record.base_output_tokens,
        record.place,
        _numbers_text(record.ranks) if record.ranks else "[]",
        record.hold_for_us,
        record.team,
        record.key_team,
        record.hour_us,
        _pots_text(record.pots) if record.pots else "[]",
        _told_text(record.told) if record.told is not None else "",
    )


def request_of(row: Iterable[Any]) -> RequestRecord:
    """The record in a row of `requests`, as `with_counts` has it.

    By place: to take each column by its name takes longer than all else that is done with a row.
    """
    # fmt: off
    (
        service, request_id, part, service_uid, node, epoch, state,
        *amounts,
        held, price, debt_allowed, estimated, credential, labels, start_us, settle_us,
        predecessor_part, base_input_tokens, base_output_tokens, place, ranks, hold_for_us,
        team, key_team, hour_us, pots, told, page_data,
    ) = row
    # fmt: on
    counts, later = Counts(*amounts[: len(KINDS)]), counts_at(page_data, place)
    # Only progress that is not estimated goes to a page alone.
    is_later = later is not None and later != counts
    return RequestRecord(
        service=service,
        service_uid=service_uid,
        request_id=request_id,
        part=part,
        node=node,
        epoch=epoch,
        state=_STATES[state],
        counts=counts if later is None else later,
        receipt=_receipt_of(*amounts[len(KINDS) :]),
        held=_held_of(held),
        price_nanos_per_million=_price_of(price),
        debt_allowed=debt_allowed,
        estimated=estimated and not is_later,
        credential=credential,
        labels=labels_of(labels),
        start_us=start_us,
        booked_us=settle_us,
        predecessor_part=predecessor_part,
        base_input_tokens=base_input_tokens,
        base_output_tokens=base_output_tokens,
        place=place,
        ranks=() if is_later else _numbers_of(ranks),
        hold_for_us=hold_for_us,
        team=team,
        key_team=key_team,
        hour_us=hour_us or hour_of(start_us),
        pots=_pots_of(pots) if pots != "[]" else (),
        told=_told_of(told) if told else None,
    )


def shown_of(row: Iterable[Any]) -> ShownRecord:
    """The record in a row of the columns `SHOWN`, as `with_counts` has it; exports have a million of them."""
    # fmt: off
    (
        service, request_id, part, service_uid, node, state,
        new, cached, written, output, reasoning, reserved, trial, billed, unfunded,
        overrun_tokens, cost_nanos, debt_nanos, price_version, revision,
        estimated, credential, labels, start_us, settle_us, place, team, key_team, told, page_data,
    ) = row
    # fmt: on
    counts, later = Counts(new, cached, written, output, reasoning), counts_at(page_data, place)
    return ShownRecord(
        service,
        service_uid,
        request_id,
        part,
        node,
        _STATES[state],
        counts if later is None else later,
        _receipt_of(reserved, trial, billed, unfunded, overrun_tokens, cost_nanos, debt_nanos, price_version, revision),
        estimated and (later is None or later == counts),
        credential,
        labels_of(labels),
        start_us,
        settle_us,
        team,
        key_team,
        _told_of(told) if told else None,
    )


def lease_row(record: LeaseRecord) -> Row:
    """A row of `leases`, in the order of its columns."""
    return (
        record.service,
        record.lease_id,
        record.service_uid,
        record.node,
        record.epoch,
        record.pot_kind.value,
        record.consumed_units,
        record.closed,
        record.close_us,
        *_pot_columns(record.limit_pot),
    )


def lease_of(row: RowMapping) -> LeaseRecord:
    """The record in a row of `leases`."""
    return LeaseRecord(
        lease_id=row["lease_id"],
        node=row["node"],
        epoch=row["epoch"],
        service=row["service"],
        service_uid=row["service_uid"],
        pot_kind=PotKind(row["pot_kind"]),
        consumed_units=row["consumed_units"],
        closed=row["closed"],
        close_us=row["close_us"],
        limit_pot=_limit_pot_of(row) if row["limit_uid"] else None,
    )


def aggregate_row(key: AggregateKey, delta: AggregateDelta) -> Row:
    """A row of `minute_usage`, in the order of its columns."""
    return (
        key.service,
        key.minute_us,
        key.service_uid,
        key.team,
        key.credential,
        labels_text(key.labels),
        key.key_team,
        key.hour_us,
        *delta.usage,
        *(getattr(delta, name) for name in SUMS),
    )


def aggregate_of(row: RowMapping) -> AggregateDelta:
    """The sums in a row of columns named as in `minute_usage`."""
    return AggregateDelta(usage=_usage_of(row), **{name: row[name] for name in SUMS})


def denial_row(key: DenialKey, count: int) -> Row:
    """A row of `minute_denials`, in the order of its columns."""
    return (key.service, key.minute_us, key.service_uid, key.team, key.credential, key.reason, key.key_team, count)


def _pot_columns(pot: LimitPotKey | None) -> Row:
    return ("", "", 0) if pot is None else (pot.limit_uid, pot.member_uid, pot.period_start_us)


def _limit_pot_of(row: RowMapping) -> LimitPotKey:
    return LimitPotKey(PotKind(row["pot_kind"]), row["limit_uid"], row["member_uid"], row["period_start_us"])


def _usage_of(row: RowMapping) -> Counts:
    return Counts(*(row[f"{kind}_tokens"] for kind in KINDS))


def _receipt_of(reserved: str, trial: str, billed: str, unfunded: str, *amounts: int) -> Receipt:
    third = _counts_of(billed)
    if reserved == trial == unfunded == "[]":
        # Nearly always: three sums, and three texts that say nothing, would take half of what a whole row takes.
        return Receipt(third, ZERO, ZERO, third, ZERO, *amounts)
    first, second, fourth = _counts_of(reserved), _counts_of(trial), _counts_of(unfunded)
    given = [counts for counts in (first, second, third, fourth) if counts is not ZERO]
    usage = given[0] if len(given) == 1 else first + second + third + fourth
    return Receipt(usage, first, second, third, fourth, *amounts)


@lru_cache(maxsize=4096)  # All requests of a key have the same, for as long as a period lasts.
def _pots_text(pots: tuple[LimitPotKey, ...]) -> str:
    return json.dumps(pots, separators=(",", ":"))


@lru_cache(maxsize=4096)
def _pots_of(text: str) -> tuple[LimitPotKey, ...]:
    return tuple(LimitPotKey(PotKind(kind), *which) for kind, *which in json.loads(text))


def _told_text(told: Cut) -> str:
    return json.dumps((told.reason.name, *told[1:]), separators=(",", ":"))


def _told_of(text: str) -> Cut | None:
    """None, too, for a reason that only a newer node knows."""
    name, *more = json.loads(text)
    return Cut(Reason[name], *more) if name in Reason.__members__ else None


@lru_cache(maxsize=4096)
def _price_text(price: tuple[int, ...]) -> str:
    return _numbers_text(price)


def _counts_text(counts: Counts) -> str:
    return "[]" if counts == ZERO else "[%d,%d,%d,%d,%d]" % counts  # noqa: UP031  # half the time of the others


def _counts_of(text: str) -> Counts:
    return ZERO if text == "[]" else Counts(*_numbers_of(text))


@lru_cache(maxsize=4096)  # As prices are: pages of records read the same ones over and over.
def _price_of(text: str) -> tuple[int, int, int, int, int]:
    price = json.loads(text)
    return price[0], price[1], price[2], price[3], price[4]


def _held_text(held: HeldUnits) -> str:
    return "[]" if held == _NOTHING_HELD else "[%d,%d,%d,%d,%d,%d,%d]" % held  # noqa: UP031  # as above


def _held_of(text: str) -> HeldUnits:
    return _NOTHING_HELD if text == "[]" else HeldUnits(*_numbers_of(text))


def _numbers_of(text: str) -> tuple[int, ...]:
    # Half the time of `json.loads`.
    return () if text == "[]" else tuple(map(int, text[1:-1].split(",")))


def _numbers_text(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
