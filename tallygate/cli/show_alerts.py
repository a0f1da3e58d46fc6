"""Alerts, webhooks and deliveries as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from tallygate.cli.console import facts, literal
from tallygate.cli.money import format_amount
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.control.v1 import alert_pb2, inference_service_pb2, pot_pb2, webhook_pb2


def alert_table(alerts: Iterable[alert_pb2.Alert]) -> Table:
    """Many alerts."""
    return table(
        ("number", "time", "kind", "about", "what"),
        (
            (
                str(one.sequence_number),
                time_text(one.create_time),
                kind_text(one.kind),
                one.resource,
                _what(one),
            )
            for one in alerts
        ),
    )


def settings_facts(settings: alert_pb2.AlertSettings) -> Table:
    """When an account is told of what."""
    percents = ", ".join(f"{percent} %" for percent in settings.trial_threshold_percents)
    amounts = ", ".join(format_amount(nanos) for nanos in settings.left_threshold_nanos)
    return facts(("of trials, when spent", percents or "never"), ("of money, when left", amounts or "never"))


def webhook_facts(webhook: webhook_pb2.Webhook) -> Table:
    """One webhook."""
    has_two = webhook.HasField("previous_secret_expire_time")
    return facts(
        ("webhook", literal(webhook.name, "bold")),
        ("address", webhook.url),
        ("kinds", _kinds(webhook)),
        ("state", _state(webhook)),
        ("secret before signs until", time_text(webhook.previous_secret_expire_time) if has_two else ""),
    )


def webhook_table(webhooks: Iterable[webhook_pb2.Webhook]) -> Table:
    """Many webhooks."""
    rows = ((one.name, one.url, _kinds(one), _state(one)) for one in webhooks)
    return table(("webhook", "address", "kinds", "state"), rows)


def delivery_table(deliveries: Iterable[webhook_pb2.Delivery]) -> Table:
    """Many deliveries."""
    return table(
        ("message", "alert", "state", "attempts", "last answer", "next attempt"),
        (
            (
                one.name.rpartition("/")[2],
                one.alert.rpartition("/")[2] or "test",
                webhook_pb2.DeliveryState.Name(one.state).removeprefix("DELIVERY_STATE_"),
                str(one.attempt_count),
                _answer(one),
                time_text(one.next_attempt_time) if one.HasField("next_attempt_time") else "",
            )
            for one in deliveries
        ),
    )


def kind_text(kind: alert_pb2.AlertKind.ValueType) -> str:
    """A kind as people type it: `trial-threshold`."""
    return alert_pb2.AlertKind.Name(kind).removeprefix("ALERT_KIND_").replace("_", "-").lower()


def _what(alert: alert_pb2.Alert) -> str:
    match alert.WhichOneof("detail"):
        case "spent_threshold":
            spent = alert.spent_threshold
            of_money = spent.pot_kind == pot_pb2.POT_KIND_BUDGET_MONEY
            units = map(format_amount, (spent.spent_units, spent.amount_units)) if of_money else ()
            done, whole = tuple(units) or (f"{spent.spent_units:,}", f"{spent.amount_units:,} tokens")
            return f"{spent.threshold_percent} %: {done} of {whole} spent"
        case "left_threshold":
            left = alert.left_threshold
            below = format_amount(left.threshold_nanos, left.currency_code)
            return f"{format_amount(left.left_nanos, left.currency_code)} left, {below} or less"
        case "account_standing":
            standing = alert.account_standing
            return f"{format_amount(standing.left_nanos, standing.currency_code)} left"
        case "status_change":
            change = alert.status_change
            status, reason = inference_service_pb2.ServiceStatus, inference_service_pb2.StopReason
            names = [status.Name(one).removeprefix("SERVICE_STATUS_") for one in (change.old_status, change.new_status)]
            reasons = [reason.Name(one).removeprefix("STOP_REASON_") for one in change.stop_reasons]
            return " -> ".join(names) + (f" ({', '.join(reasons)})" if reasons else "")
    return ""


def _kinds(webhook: webhook_pb2.Webhook) -> str:
    return ", ".join(map(kind_text, webhook.kinds.kinds)) or "all"


def _state(webhook: webhook_pb2.Webhook) -> str:
    if webhook.gone:
        return "disabled: the receiver says that it is gone"
    return "disabled" if webhook.disabled else "enabled"


def _answer(delivery: webhook_pb2.Delivery) -> str:
    if delivery.last_status:
        return str(delivery.last_status)
    name = webhook_pb2.DeliveryProblem.Name(delivery.last_problem).removeprefix("DELIVERY_PROBLEM_")
    return "" if name in ("NONE", "UNSPECIFIED") else name
