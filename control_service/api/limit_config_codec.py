"""Limits as nodes know them, on the wire."""

from control_service.domain.limit import Budget, Limit, RateMetric, RateRule
from control_service.domain.limit_pot import KIND_OF_UNIT
from control_service.domain.names import model_name
from control_service.domain.period import Period, periods_of
from control_service.domain.pot import PotKind
from control_service.usecases.fleet.followed_limits import LimitsConfig
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_duration, encode_timestamp
from tallygate.control.v1 import limit_config_pb2, pot_pb2


def encode_account_limits(config: LimitsConfig, now_us: int) -> limit_config_pb2.AccountLimits:
    """The limits of an account, said at this moment."""
    return limit_config_pb2.AccountLimits(
        account=config.subject.name,
        limits=[_encode_limit(limit, now_us) for limit in config.limits],
        version=config.version,
    )


def encode_model_limits(config: LimitsConfig, now_us: int) -> limit_config_pb2.ModelLimits:
    """The rules of a model, said at this moment."""
    return limit_config_pb2.ModelLimits(
        model=config.subject.name,
        limits=[_encode_limit(limit, now_us) for limit in config.limits],
        version=config.version,
    )


def _encode_limit(limit: Limit, now_us: int) -> limit_config_pb2.LimitConfig:
    return _encode_rule(limit) if isinstance(limit, RateRule) else _encode_budget(limit, now_us)


def _encode_rule(rule: RateRule) -> limit_config_pb2.LimitConfig:
    kind = PotKind.SLOTS if rule.metric is RateMetric.CONCURRENT_REQUESTS else PotKind.RATE
    return limit_config_pb2.LimitConfig(
        uid=rule.uid,
        limit=rule.name,
        pot_kind=encode_enum(pot_pb2.PotKind, kind),
        place=rule.place.name,
        place_uid=rule.place.uid,
        model=model_name(rule.model_id) if rule.model_id else "",
        member=limit_config_pb2.LIMIT_MEMBER_SHARED,
        metric=encode_enum(limit_config_pb2.RateMetric, rule.metric),
        limit_units=rule.limit_units,
        period=encode_duration(rule.period_us or None),
        burst_units=rule.burst_units,
        only_counts=rule.dry_run,
    )


def _encode_budget(budget: Budget, now_us: int) -> limit_config_pb2.LimitConfig:
    return limit_config_pb2.LimitConfig(
        uid=budget.uid,
        limit=budget.name,
        pot_kind=encode_enum(pot_pb2.PotKind, KIND_OF_UNIT[budget.unit]),
        place=budget.place.name,
        place_uid=budget.place.uid,
        member=encode_enum(limit_config_pb2.LimitMember, budget.member),
        only_counts=budget.soft,
        periods=[_encode_period(period, now_us) for period in periods_of(budget, now_us)],
        amount_units=budget.amount_at(now_us),
    )


def _encode_period(period: Period, now_us: int) -> limit_config_pb2.BudgetPeriod:
    if period.end_us is None:
        return limit_config_pb2.BudgetPeriod()
    return limit_config_pb2.BudgetPeriod(
        start_time=encode_timestamp(period.start_us),
        starts_after=encode_duration(period.start_us - now_us if period.start_us > now_us else None),
        ends_after=encode_duration(period.end_us - now_us),
        end_time=encode_timestamp(period.end_us),
    )
