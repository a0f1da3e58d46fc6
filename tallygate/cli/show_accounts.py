"""Accounts, ledgers, reservations and events as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from tallygate.cli.console import facts, literal
from tallygate.cli.money import format_amount
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.control.v1 import (
    account_pb2,
    account_service_pb2,
    inference_service_pb2,
    ledger_pb2,
    lifecycle_service_pb2,
    reservation_pb2,
    service_event_pb2,
)


def account_table(accounts: Iterable[account_pb2.Account]) -> Table:
    """Many accounts."""
    return table(
        ("account", "display name", "balance", "available", "on lease", "overdue", "closed"),
        (
            (
                one.name,
                one.display_name,
                *(format_amount(nanos, one.currency_code) for nanos in (one.balance_nanos, one.available_nanos)),
                format_amount(one.leased_nanos, one.currency_code),
                f"since {time_text(one.overdue_time)}" if one.overdue else "no",
                f"since {time_text(one.close_time)}" if one.HasField("close_time") else "no",
            )
            for one in accounts
        ),
    )


def forecast_facts(found: account_service_pb2.ForecastAccountResponse, account: str, currency: str) -> Table:
    """How long an account's money lasts."""
    return facts(
        ("account", literal(account, "bold")),
        ("left", format_amount(found.left_nanos, currency)),
        ("spent", f"{format_amount(found.spent_nanos, currency)} since {time_text(found.pace_start_time)}"),
        ("forecast", _forecast(found)),
    )


def _forecast(found: account_service_pb2.ForecastAccountResponse) -> str:
    if found.HasField("used_up_time"):
        return f"used up by {time_text(found.used_up_time)}, at this pace"
    if found.left_nanos <= 0:
        return "nothing is left"
    return "none: too little was spent to tell"


def ledger_table(entries: Iterable[ledger_pb2.LedgerEntry], currency: str) -> Table:
    """Lines of a ledger."""
    return table(
        ("line", "opened", "kind", "amount", "service", "reason", "by"),
        (
            (
                one.name.rpartition("/")[2],
                time_text(one.create_time),
                ledger_pb2.LedgerEntryKind.Name(one.kind).removeprefix("LEDGER_ENTRY_KIND_"),
                format_amount(one.amount_nanos, currency),
                one.inference_service,
                one.reason,
                one.actor,
            )
            for one in entries
        ),
    )


def reservation_table(reservations: Iterable[reservation_pb2.Reservation], currency: str) -> Table:
    """Reservations of a service."""
    return table(
        ("reservation", "input TPM", "output TPM", "from", "until", "beyond it", "paid", "state"),
        (
            (
                one.name,
                f"{one.input_tokens_per_minute:,}",
                f"{one.output_tokens_per_minute:,}",
                time_text(one.start_time),
                time_text(one.end_time),
                reservation_pb2.OverflowPolicy.Name(one.overflow_policy).removeprefix("OVERFLOW_POLICY_"),
                format_amount(one.paid_nanos, currency),
                reservation_pb2.ReservationState.Name(one.state).removeprefix("RESERVATION_STATE_"),
            )
            for one in reservations
        ),
    )


def quote_facts(quote: lifecycle_service_pb2.QuoteReservationResponse) -> Table:
    """What a reservation would cost."""
    lacking = format_amount(quote.shortfall_nanos, quote.currency_code) if quote.shortfall_nanos else ""
    return facts(
        ("price", format_amount(quote.price_nanos, quote.currency_code)),
        ("until", time_text(quote.end_time)),
        ("pay-as-you-go", "would be enabled, for tokens beyond the reservation" if quote.enables_postpaid else ""),
        ("the account lacks", lacking),
    )


def event_table(events: Iterable[service_event_pb2.ServiceEvent]) -> Table:
    """What happened to a service."""
    return table(
        ("when", "cause", "before", "after", "by"),
        (
            (
                time_text(one.event_time),
                service_event_pb2.EventCause.Name(one.cause).removeprefix("EVENT_CAUSE_"),
                _status(one.old_status, one.old_stop_reasons),
                _status(one.new_status, one.new_stop_reasons),
                one.actor,
            )
            for one in events
        ),
    )


def _status(
    status: inference_service_pb2.ServiceStatus.ValueType, reasons: Iterable[inference_service_pb2.StopReason.ValueType]
) -> str:
    name = inference_service_pb2.ServiceStatus.Name(status).removeprefix("SERVICE_STATUS_")
    why = ", ".join(inference_service_pb2.StopReason.Name(one).removeprefix("STOP_REASON_") for one in reasons)
    return f"{name} ({why})" if why else name
