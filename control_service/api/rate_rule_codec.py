"""Rate rules on the wire."""

from control_service.api.fields import INT64_MAX, Fields
from control_service.api.limit_fields import decode_place, decode_rate_rule_name, required_member
from control_service.domain.limit import LimitSubject, RateMetric, RateRule
from control_service.domain.limit_bounds import RATE_PERIOD_US_MAX
from control_service.domain.names import model_name
from control_service.usecases.limits.rate_rules import NewRateRule, RateRuleUpdate
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_duration, encode_timestamp
from tallygate.control.v1 import limit_config_pb2, rate_rule_pb2
from tallygate.control.v1 import limit_service_pb2 as pb


def decode_create(request: pb.CreateRateRuleRequest) -> NewRateRule:
    """The rule to be created. Raises InvalidRequestError."""
    with Fields() as fields:
        subject, rule_id = decode_rate_rule_name(fields, request.name)
        has_period = request.HasField("period")
        return NewRateRule(
            rule_id=rule_id,
            place=decode_place(fields, request.place, subject),
            metric=required_member(fields, "metric", limit_config_pb2.RateMetric, request.metric, RateMetric.REQUESTS),
            limit_units=request.limit_units,
            period_us=fields.duration_us("period", request.period, RATE_PERIOD_US_MAX) if has_period else 0,
            burst_units=request.burst_units,
            model_id=fields.model("model", request.model) if request.model else "",
            dry_run=request.dry_run,
        )


def decode_update(request: pb.UpdateRateRuleRequest) -> tuple[LimitSubject, str, RateRuleUpdate]:
    """Which rule, and its new settings. Raises InvalidRequestError."""
    with Fields() as fields:
        subject, rule_id = decode_rate_rule_name(fields, request.name)
        has_period = request.HasField("period")
        return (
            subject,
            rule_id,
            RateRuleUpdate(
                limit_units=request.limit_units if request.HasField("limit_units") else None,
                period_us=fields.duration_us("period", request.period, RATE_PERIOD_US_MAX) if has_period else None,
                burst_units=fields.number("burst_units", request.burst_units, 0, INT64_MAX)
                if request.HasField("burst_units")
                else None,
                dry_run=request.dry_run if request.HasField("dry_run") else None,
            ),
        )


def encode_rate_rule(rule: RateRule) -> rate_rule_pb2.RateRule:
    """A rule as people see it."""
    return rate_rule_pb2.RateRule(
        name=rule.name,
        uid=rule.uid,
        place=rule.place.name,
        metric=encode_enum(limit_config_pb2.RateMetric, rule.metric),
        limit_units=rule.limit_units,
        period=encode_duration(rule.period_us or None),
        burst_units=rule.burst_units,
        model=model_name(rule.model_id) if rule.model_id else "",
        dry_run=rule.dry_run,
        create_time=encode_timestamp(rule.create_us),
        update_time=encode_timestamp(rule.update_us),
        delete_time=encode_timestamp(rule.delete_us),
    )
