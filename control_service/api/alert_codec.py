"""Alerts on the wire."""

from collections.abc import Sequence
from typing import Any, Final

from control_service.api.fields import Fields
from control_service.domain.account import Account
from control_service.domain.alert import Alert, AlertContent, AlertKind
from control_service.domain.event import EventCause
from control_service.domain.input_bounds import FUNDS_NANOS_MAX
from control_service.domain.pot import PotKind
from control_service.domain.status import Status, StopReason
from control_service.domain.threshold import PERCENT_MAX, THRESHOLD_COUNT_MAX
from control_service.usecases.alert_ports import AlertFilter
from control_service.usecases.alerts.alert_settings import AlertSettingsUpdate
from tallygate._wire.enums import encode_enum, encode_enums
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import alert_pb2 as pb
from tallygate.control.v1 import alert_service_pb2, inference_service_pb2, pot_pb2, service_event_pb2

_SPENT: Final = frozenset({AlertKind.BUDGET_THRESHOLD, AlertKind.TRIAL_THRESHOLD})
_STANDING: Final = frozenset({AlertKind.ACCOUNT_OVERDUE, AlertKind.ACCOUNT_RECOVERED})


def decode_filter(fields: Fields, request: alert_service_pb2.ListAlertsRequest) -> AlertFilter:
    """The alerts to list; notes violations in `fields`."""
    return AlertFilter(
        account_id=fields.account("account", request.account),
        kinds=decode_kinds(fields, "kinds", request.kinds),
        start_us=fields.moment_us("start_time", request.start_time) if request.HasField("start_time") else None,
        end_us=fields.moment_us("end_time", request.end_time) if request.HasField("end_time") else None,
    )


def decode_kinds(fields: Fields, path: str, numbers: Sequence[Any]) -> frozenset[AlertKind]:
    """Kinds of alerts; notes violations in `fields`."""
    kinds = (fields.member(f"{path}[{index}]", pb.AlertKind, one, AlertKind) for index, one in enumerate(numbers))
    return frozenset(kind for kind in kinds if kind is not None)


def decode_settings(fields: Fields, request: alert_service_pb2.UpdateAlertSettingsRequest) -> AlertSettingsUpdate:
    """New thresholds; notes violations in `fields`."""
    percents, nanos = request.trial_threshold_percents, request.left_threshold_nanos
    return AlertSettingsUpdate(
        trial_percents=_thresholds(fields, "trial_threshold_percents.percents", percents.percents, 1, PERCENT_MAX)
        if request.HasField("trial_threshold_percents")
        else None,
        left_nanos_thresholds=_thresholds(
            fields, "left_threshold_nanos.nanos", nanos.nanos, -FUNDS_NANOS_MAX, FUNDS_NANOS_MAX
        )
        if request.HasField("left_threshold_nanos")
        else None,
    )


def _thresholds(fields: Fields, path: str, values: Sequence[int], least: int, greatest: int) -> tuple[int, ...]:
    if len(values) > THRESHOLD_COUNT_MAX:
        fields.refuse(path, f"must not be more than {THRESHOLD_COUNT_MAX}")
        return ()
    return tuple(
        sorted({fields.number(f"{path}[{index}]", value, least, greatest) for index, value in enumerate(values)})
    )


def encode_settings(account: Account) -> pb.AlertSettings:
    """When an account is told of what."""
    return pb.AlertSettings(
        trial_threshold_percents=account.trial_percents, left_threshold_nanos=account.left_nanos_thresholds
    )


def encode_alert(alert: Alert) -> pb.Alert:
    """An alert with its figures."""
    content = alert.content
    message = pb.Alert(
        name=alert.name,
        sequence_number=alert.number,
        kind=encode_enum(pb.AlertKind, content.kind),
        resource=content.resource,
        create_time=encode_timestamp(alert.create_us),
    )
    if content.kind in _SPENT:
        message.spent_threshold.CopyFrom(_spent(content))
    elif content.kind is AlertKind.MONEY_THRESHOLD:
        message.left_threshold.CopyFrom(_left(content))
    elif content.kind in _STANDING:
        message.account_standing.CopyFrom(_standing(content))
    else:
        message.status_change.CopyFrom(_status_change(content))
    return message


def _spent(content: AlertContent) -> pb.SpentThreshold:
    figures = content.figures
    return pb.SpentThreshold(
        threshold_percent=figures["threshold_percent"],
        spent_units=figures["spent_units"],
        amount_units=figures["amount_units"],
        period_start_time=encode_timestamp(figures.get("period_start_us")),
        member_uid=content.words.get("member_uid", ""),
        pot_kind=encode_enum(pot_pb2.PotKind, PotKind(content.words["pot_kind"])),
    )


def _left(content: AlertContent) -> pb.LeftThreshold:
    return pb.LeftThreshold(
        threshold_nanos=content.figures["threshold_nanos"],
        left_nanos=content.figures["left_nanos"],
        balance_nanos=content.figures["balance_nanos"],
        currency_code=content.words["currency_code"],
    )


def _standing(content: AlertContent) -> pb.AccountStanding:
    return pb.AccountStanding(
        left_nanos=content.figures["left_nanos"],
        balance_nanos=content.figures["balance_nanos"],
        currency_code=content.words["currency_code"],
    )


def _status_change(content: AlertContent) -> pb.StatusChange:
    words = content.words
    reasons = [StopReason(one) for one in words["stop_reasons"].split(",") if one]
    return pb.StatusChange(
        old_status=encode_enum(inference_service_pb2.ServiceStatus, Status(words["old_status"])),
        new_status=encode_enum(inference_service_pb2.ServiceStatus, Status(words["new_status"])),
        stop_reasons=encode_enums(inference_service_pb2.StopReason, StopReason, reasons),
        cause=encode_enum(service_event_pb2.EventCause, EventCause(words["cause"])),
    )
