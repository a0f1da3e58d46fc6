"""Accounts and ledgers on the wire."""

from typing import Final

from control_service.api.fields import Fields
from control_service.domain.account import Account, OverduePolicy
from control_service.domain.forecast import Pace
from control_service.domain.input_bounds import AMOUNT_NANOS_MAX, REASON_MAX
from control_service.domain.ledger import LedgerEntry, LedgerEntryKind, Line
from control_service.domain.names import account_name, ledger_entry_name, service_name
from control_service.usecases.people.accounts import AccountUpdate, NewAccount
from control_service.usecases.people.payments import BookedLine
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import account_pb2, account_service_pb2, ledger_pb2

CURRENCY_DEFAULT: Final = "USD"
OVERDUE_FLOOR_NANOS_DEFAULT: Final = 10_000_000


def decode_create(request: account_service_pb2.CreateAccountRequest) -> NewAccount:
    """The settings of the account to create. Raises InvalidRequestError."""
    floor = request.overdue_floor_nanos if request.HasField("overdue_floor_nanos") else OVERDUE_FLOOR_NANOS_DEFAULT
    with Fields() as fields:
        return NewAccount(
            account_id=fields.account("name", request.name),
            display_name=fields.text("display_name", request.display_name),
            currency_code=fields.currency("currency_code", request.currency_code, CURRENCY_DEFAULT),
            credit_limit_nanos=fields.nanos("credit_limit_nanos", request.credit_limit_nanos, 0, AMOUNT_NANOS_MAX),
            overdue_floor_nanos=fields.nanos("overdue_floor_nanos", floor, 0, AMOUNT_NANOS_MAX),
            overdue_policy=_decode_policy(fields, request.overdue_policy) or OverduePolicy.STOP_ALL,
        )


def decode_update(request: account_service_pb2.UpdateAccountRequest) -> tuple[str, AccountUpdate]:
    """The account's id and its new settings. Raises InvalidRequestError."""
    with Fields() as fields:
        display_name = fields.text("display_name", request.display_name)
        limit = fields.nanos("credit_limit_nanos", request.credit_limit_nanos, 0, AMOUNT_NANOS_MAX)
        floor = fields.nanos("overdue_floor_nanos", request.overdue_floor_nanos, 0, AMOUNT_NANOS_MAX)
        return fields.account("name", request.name), AccountUpdate(
            display_name=display_name if request.HasField("display_name") else None,
            credit_limit_nanos=limit if request.HasField("credit_limit_nanos") else None,
            overdue_floor_nanos=floor if request.HasField("overdue_floor_nanos") else None,
            overdue_policy=_decode_policy(fields, request.overdue_policy),
        )


def decode_top_up(request: account_service_pb2.TopUpAccountRequest) -> tuple[str, Line]:
    """The account's id and the line to write. Raises InvalidRequestError."""
    with Fields() as fields:
        amount = fields.nanos("amount_nanos", request.amount_nanos, 1, AMOUNT_NANOS_MAX)
        reason = fields.text("reason", request.reason, REASON_MAX)
        return fields.account("name", request.name), Line(LedgerEntryKind.TOP_UP, amount, reason)


def decode_adjust(request: account_service_pb2.AdjustAccountRequest) -> tuple[str, Line]:
    """The account's id and the line to write. Raises InvalidRequestError."""
    with Fields() as fields:
        amount = fields.nanos("amount_nanos", request.amount_nanos, -AMOUNT_NANOS_MAX, AMOUNT_NANOS_MAX)
        if amount == 0:
            fields.refuse("amount_nanos", "must not be zero")
        reason = fields.required_text("reason", request.reason, REASON_MAX)
        return fields.account("name", request.name), Line(LedgerEntryKind.ADJUSTMENT, amount, reason)


def encode_account(account: Account) -> account_pb2.Account:
    """The account as it is now."""
    return account_pb2.Account(
        name=account_name(account.account_id),
        uid=account.uid,
        display_name=account.display_name,
        currency_code=account.currency_code,
        balance_nanos=account.balance_nanos,
        credit_limit_nanos=account.credit_limit_nanos,
        overdue_floor_nanos=account.overdue_floor_nanos,
        available_nanos=account.available_nanos,
        leased_nanos=account.leased_nanos,
        overdue=account.overdue,
        overdue_time=encode_timestamp(account.overdue_us),
        overdue_policy=encode_enum(account_pb2.OverduePolicy, account.overdue_policy),
        create_time=encode_timestamp(account.create_us),
        update_time=encode_timestamp(account.update_us),
        close_time=encode_timestamp(account.close_us),
    )


def encode_forecast(account: Account, pace: Pace) -> account_service_pb2.ForecastAccountResponse:
    """How long the account's money lasts."""
    return account_service_pb2.ForecastAccountResponse(
        left_nanos=account.left_nanos,
        spent_nanos=pace.spent_units,
        pace_start_time=encode_timestamp(pace.since_us),
        used_up_time=encode_timestamp(pace.used_up_us(account.left_nanos)),
    )


def encode_ledger_entry(entry: LedgerEntry) -> ledger_pb2.LedgerEntry:
    """A line of a ledger."""
    return ledger_pb2.LedgerEntry(
        name=ledger_entry_name(entry.account_id, entry.entry_number),
        kind=encode_enum(ledger_pb2.LedgerEntryKind, entry.kind),
        amount_nanos=entry.amount_nanos,
        inference_service=service_name(entry.account_id, entry.service_id) if entry.service_id else "",
        inference_service_uid=entry.service_uid or "",
        reason=entry.reason,
        actor=entry.actor,
        actor_note=entry.actor_note,
        create_time=encode_timestamp(entry.create_us),
        team=entry.team,
    )


def encode_created(account: Account) -> account_service_pb2.CreateAccountResponse:
    """The response to CreateAccount."""
    return account_service_pb2.CreateAccountResponse(account=encode_account(account))


def encode_updated(account: Account) -> account_service_pb2.UpdateAccountResponse:
    """The response to UpdateAccount."""
    return account_service_pb2.UpdateAccountResponse(account=encode_account(account))


def encode_closed(account: Account) -> account_service_pb2.CloseAccountResponse:
    """The response to CloseAccount."""
    return account_service_pb2.CloseAccountResponse(account=encode_account(account))


def encode_reopened(account: Account) -> account_service_pb2.ReopenAccountResponse:
    """The response to ReopenAccount."""
    return account_service_pb2.ReopenAccountResponse(account=encode_account(account))


def encode_topped_up(booked: BookedLine) -> account_service_pb2.TopUpAccountResponse:
    """The response to TopUpAccount."""
    return account_service_pb2.TopUpAccountResponse(
        account=encode_account(booked.account), ledger_entry=encode_ledger_entry(booked.entry)
    )


def encode_adjusted(booked: BookedLine) -> account_service_pb2.AdjustAccountResponse:
    """The response to AdjustAccount."""
    return account_service_pb2.AdjustAccountResponse(
        account=encode_account(booked.account), ledger_entry=encode_ledger_entry(booked.entry)
    )


def _decode_policy(fields: Fields, number: int) -> OverduePolicy | None:
    return fields.member("overdue_policy", account_pb2.OverduePolicy, number, OverduePolicy)
