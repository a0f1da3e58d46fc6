"""Between the wire and the domain, for rate rules, budgets and their pots."""

from collections.abc import Iterator, Sequence
from typing import Final

from metering_service.domain.limit import NEVER_NS, Limit, LimitSet, Member, Period
from metering_service.domain.pot import BUDGETS, LimitPotKey, PotKind
from tallygate._wire.enums import decode_table
from tallygate._wire.times import decode_ns, encode_timestamp
from tallygate.control.v1 import limit_config_pb2, pot_pb2

NS_PER_MS: Final = 1_000_000
NS_PER_US: Final = 1_000
_METRIC: Final = "RATE_METRIC_"

_KINDS: Final = decode_table(pot_pb2.PotKind, PotKind)
_MEMBERS: Final = decode_table(limit_config_pb2.LimitMember, Member)


def decode_account_limits(message: limit_config_pb2.AccountLimits, now_ns: int) -> LimitSet:
    """All limits of an account, as control sent them at this moment of the monotonic clock."""
    return LimitSet(message.account, tuple(_limits(message.limits, now_ns)), message.version)


def decode_model_limits(message: limit_config_pb2.ModelLimits, now_ns: int) -> LimitSet:
    """All rules of a model, likewise."""
    return LimitSet(message.model, tuple(_limits(message.limits, now_ns)), message.version)


def encode_limit_pot(account: str, pot: LimitPotKey) -> pot_pb2.LimitPot:
    """Which pot of a limit of an account, `accounts/{account}`."""
    return pot_pb2.LimitPot(
        account=account,
        limit_uid=pot.limit_uid,
        member_uid=pot.member_uid,
        period_start_time=encode_timestamp(pot.period_start_us or None),
    )


def decode_limit_pots(message: pot_pb2.LimitPot) -> Iterator[tuple[str, LimitPotKey]]:
    """The account, and the pots that are meant: of which kind a limit's are is not said."""
    start_us = decode_ns(message.period_start_time) // NS_PER_US if message.HasField("period_start_time") else 0
    for kind in (*BUDGETS, PotKind.RATE, PotKind.SLOTS):
        yield message.account, LimitPotKey(kind, message.limit_uid, message.member_uid, start_us)


def _limits(messages: Sequence[limit_config_pb2.LimitConfig], now_ns: int) -> Iterator[Limit]:
    """Limits, without those that this program does not understand: it can enforce none of them."""
    for message in messages:
        kind, member = _KINDS.get(message.pot_kind), _MEMBERS.get(message.member)
        if kind is None or member is None:
            continue
        periods = tuple(_decode_period(period, now_ns) for period in message.periods)
        yield Limit(
            uid=message.uid,
            name=message.limit,
            kind=kind,
            place=message.place,
            place_uid=message.place_uid,
            model=message.model,
            member=member,
            only_counts=message.only_counts,
            metric=limit_config_pb2.RateMetric.Name(message.metric).removeprefix(_METRIC) if message.metric else "",
            limit_units=message.limit_units,
            period_ms=decode_ns(message.period) // NS_PER_MS,
            burst_units=message.burst_units,
            amount_units=message.amount_units,
            periods=periods or (Period(),),
        )


def _decode_period(message: limit_config_pb2.BudgetPeriod, now_ns: int) -> Period:
    return Period(
        decode_ns(message.start_time) // NS_PER_US if message.HasField("start_time") else 0,
        decode_ns(message.end_time) // NS_PER_US if message.HasField("end_time") else None,
        now_ns + decode_ns(message.starts_after) if message.HasField("starts_after") else 0,
        now_ns + decode_ns(message.ends_after) if message.HasField("ends_after") else NEVER_NS,
    )
