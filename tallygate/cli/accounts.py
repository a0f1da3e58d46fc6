"""`tallygate account`: who pays."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from tallygate.cli.console import literal, out, print_json, print_list
from tallygate.cli.money import format_amount, parse_amount
from tallygate.cli.names import account_name, service_name
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    KeyOption,
    control_channel,
    key_or_new,
)
from tallygate.cli.services import currency_of
from tallygate.cli.show import account_facts
from tallygate.cli.show_accounts import account_table, forecast_facts, ledger_table
from tallygate.control.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc

app = typer.Typer(help="Accounts and their money.", no_args_is_help=True)

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or accounts/acme", parser=account_name)]


class OverduePolicy(StrEnum):
    """What being overdue does to the account's pay-as-you-go services."""

    stop_all = "stop-all"
    keep_funded = "keep-funded"


_Paid: TypeAlias = account_service_pb2.TopUpAccountResponse | account_service_pb2.AdjustAccountResponse
_Stub = account_service_pb2_grpc.AccountServiceStub
_POLICIES = {
    OverduePolicy.stop_all: account_pb2.OVERDUE_POLICY_STOP_ALL,
    OverduePolicy.keep_funded: account_pb2.OVERDUE_POLICY_KEEP_FUNDED,
}


@app.command()
def create(
    account: AccountArgument,
    *,
    currency: Annotated[str, typer.Option(help="ISO 4217 code; it cannot be changed later.")] = "USD",
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    credit_limit: Annotated[
        int, typer.Option(metavar="AMOUNT", parser=parse_amount, help="How far below zero the balance may go.")
    ] = 0,
    overdue_floor: Annotated[
        int | None,
        typer.Option(metavar="AMOUNT", parser=parse_amount, help="Less than this available is overdue; default 0.01."),
    ] = None,
    overdue_policy: Annotated[
        OverduePolicy, typer.Option(help="What stops when it is overdue.")
    ] = OverduePolicy.stop_all,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates an account with a balance of zero."""
    request = account_service_pb2.CreateAccountRequest(
        name=account,
        currency_code=currency,
        display_name=display_name,
        credit_limit_nanos=credit_limit,
        overdue_floor_nanos=overdue_floor,
        overdue_policy=_POLICIES[overdue_policy],
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        made = _Stub(channel).CreateAccount(request, timeout=TIMEOUT_S).account
        print_json(made) if json else out.print(account_facts(made))


@app.command("list")
def list_accounts(
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the accounts that you may see."""
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListAccounts, account_service_pb2.ListAccountsRequest(), "accounts")
        print_list(found, lambda: account_table(found.accounts), json=json, csv=csv)


@app.command()
def update(
    account: AccountArgument,
    *,
    display_name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    credit_limit: Annotated[
        int | None, typer.Option(metavar="AMOUNT", parser=parse_amount, help="How far below zero the balance may go.")
    ] = None,
    overdue_floor: Annotated[
        int | None, typer.Option(metavar="AMOUNT", parser=parse_amount, help="Less than this available is overdue.")
    ] = None,
    overdue_policy: Annotated[OverduePolicy | None, typer.Option(help="What stops when it is overdue.")] = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes the settings that are given, and leaves the others."""
    request = account_service_pb2.UpdateAccountRequest(
        name=account,
        display_name=display_name,
        credit_limit_nanos=credit_limit,
        overdue_floor_nanos=overdue_floor,
        overdue_policy=_POLICIES[overdue_policy] if overdue_policy else account_pb2.OVERDUE_POLICY_UNSPECIFIED,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        changed = _Stub(channel).UpdateAccount(request, timeout=TIMEOUT_S).account
        print_json(changed) if json else out.print(account_facts(changed))


@app.command()
def show(account: AccountArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows an account: what it has, what is on lease, whether it is overdue."""
    request = account_service_pb2.GetAccountRequest(name=account)
    with control_channel(control) as channel:
        found = _Stub(channel).GetAccount(request, timeout=TIMEOUT_S).account
        print_json(found) if json else out.print(account_facts(found))


@app.command()
def forecast(account: AccountArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Says when an account's money will be used up at the pace of the last 24 hours."""
    request = account_service_pb2.ForecastAccountRequest(name=account)
    with control_channel(control) as channel:
        found = _Stub(channel).ForecastAccount(request, timeout=TIMEOUT_S)
        print_json(found) if json else out.print(forecast_facts(found, account, currency_of(channel, account)))


@app.command()
def top_up(
    account: AccountArgument,
    *,
    amount: Annotated[
        int, typer.Option(metavar="AMOUNT", parser=parse_amount, help="12.50, or 12500000000n for nanos.")
    ],
    reason: Annotated[str, typer.Option(help="For the ledger, such as a payment's reference.")] = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Pays money in."""
    request = account_service_pb2.TopUpAccountRequest(
        name=account, amount_nanos=amount, reason=reason, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        _print_entry(_Stub(channel).TopUpAccount(request, timeout=TIMEOUT_S), "paid in", json=json)


@app.command()
def adjust(
    account: AccountArgument,
    *,
    amount: Annotated[
        int,
        typer.Option(
            metavar="AMOUNT",
            parser=parse_amount,
            help="Added to the balance: 12.50, or =-12.50 to take away.",
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")],
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Refunds or corrects."""
    request = account_service_pb2.AdjustAccountRequest(
        name=account, amount_nanos=amount, reason=reason, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        _print_entry(_Stub(channel).AdjustAccount(request, timeout=TIMEOUT_S), "adjusted", json=json)


@app.command()
def ledger(
    account: AccountArgument,
    *,
    service: Annotated[
        str | None, typer.Option(metavar="SERVICE", parser=service_name, help="Only lines of this service.")
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists an account's ledger, the oldest line first; the sum of all lines is the balance."""
    request = account_service_pb2.ListLedgerEntriesRequest(account=account, inference_service=service or "")
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListLedgerEntries, request, "ledger_entries")
        print_list(found, lambda: ledger_table(found.ledger_entries, currency_of(channel, account)), json=json, csv=csv)


@app.command()
def close(
    account: AccountArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Closes an account: its services take no new requests; its money stays. `account reopen` opens it again."""
    if not yes:
        typer.confirm(f"Stop all services of {account}?", abort=True, err=True)
    request = account_service_pb2.CloseAccountRequest(name=account, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        closed = _Stub(channel).CloseAccount(request, timeout=TIMEOUT_S).account
        print_json(closed) if json else out.print(account_facts(closed))


@app.command()
def reopen(
    account: AccountArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Opens a closed account again: its services run again, unless something else stops them."""
    request = account_service_pb2.ReopenAccountRequest(name=account, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        opened = _Stub(channel).ReopenAccount(request, timeout=TIMEOUT_S).account
        print_json(opened) if json else out.print(account_facts(opened))


def _print_entry(answer: _Paid, what: str, *, json: bool) -> None:
    if json:
        print_json(answer)
        return
    out.print(literal(f"{format_amount(answer.ledger_entry.amount_nanos, answer.account.currency_code)} {what}"))
    out.print(account_facts(answer.account))
