"""Accounts, for operators: the list of all, new ones, and what is set on each."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate._wire.amounts import units_text
from tallygate.console import show
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.reads import read_account
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import account_service_pb2 as pb
from tallygate.control.v1.account_pb2 import OverduePolicy
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of accounts on a page."""
_LIST: Final = "/operations/accounts"
_SETTINGS: Final = "/accounts/{account}/settings"
_MONEY: Final = "/accounts/{account}/money"
_NAME: Final = "accounts/{account}"


async def show_accounts(visit: Visit) -> Response:
    """A page of accounts, by name."""
    request = pb.ListAccountsRequest(page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await AccountServiceStub(visit.control).ListAccounts(request)
    return visit.page(
        "accounts.html",
        accounts=answer.accounts,
        next_page=answer.next_page_token,
        may_create=visit.may_everywhere(Permission.ACCOUNTS_ADMINISTER),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new account."""
    return visit.page("create_account.html", policies=show.enum_choices(OverduePolicy))


async def create(visit: Visit) -> Response:
    """Create it, with a balance of zero."""
    form = visit.form
    request = pb.CreateAccountRequest(
        name=f"accounts/{form.text('name')}",
        currency_code=form.text("currency_code"),
        display_name=form.text("display_name"),
        credit_limit_nanos=form.nanos("credit_limit_nanos") or 0,
        overdue_floor_nanos=form.nanos("overdue_floor_nanos"),
        overdue_policy=form.chosen("overdue_policy", OverduePolicy),
        idempotency_key=visit.idempotency_key,
    )
    account = (await AccountServiceStub(visit.control).CreateAccount(request)).account
    return visit.done("The account is created. Top it up to let it pay.", f"/{account.name}/money")


async def show_settings(visit: Visit) -> Response:
    """The form of an account's settings."""
    account = await read_account(visit)
    return visit.page(
        "account_settings.html",
        account=account,
        credit=units_text(account.credit_limit_nanos),
        floor=units_text(account.overdue_floor_nanos),
        policies=show.enum_choices(OverduePolicy),
        may_administer=visit.may(Permission.ACCOUNTS_ADMINISTER),
    )


async def change_settings(visit: Visit) -> Response:
    """Change what was changed on the page; what somebody else has changed meanwhile stays."""
    form = visit.form
    request = pb.UpdateAccountRequest(
        name=visit.account,
        display_name=form.text("display_name") if form.changed("display_name") else None,
        credit_limit_nanos=form.nanos("credit_limit_nanos") if form.changed("credit_limit_nanos") else None,
        overdue_floor_nanos=form.nanos("overdue_floor_nanos") if form.changed("overdue_floor_nanos") else None,
        idempotency_key=visit.idempotency_key,
    )
    if form.changed("overdue_policy"):
        request.overdue_policy = form.chosen("overdue_policy", OverduePolicy)
    await AccountServiceStub(visit.control).UpdateAccount(request)
    return visit.done("The account is changed.", f"/{visit.account}/money")


_PRESSES: Final = (
    Press(
        path="/accounts/{account}/close",
        name=_NAME,
        title="Close the account {account}",
        says=(
            "Its services stop at once: new requests are denied, and those that run are told to stop and are booked.",
            "Nothing is created, claimed, enabled or bought in it any more. Reservations run on to their end.",
            "Its money stays, and can be paid in and out. It can be opened again.",
        ),
        button="Close the account",
        done="The account is closed.",
        back=_MONEY,
        stub=AccountServiceStub,
        request=pb.CloseAccountRequest,
        kind=DANGER,
    ),
    Press(
        path="/accounts/{account}/reopen",
        name=_NAME,
        title="Open the account {account} again",
        says=("Its services run again, unless something else stops them.",),
        button="Open it again",
        done="The account is open again.",
        back=_MONEY,
        stub=AccountServiceStub,
        request=pb.ReopenAccountRequest,
    ),
)

NAV: Final = (Entry("Accounts", _LIST, Permission.ACCOUNTS_READ),)
ROUTES: Final = (
    at(_LIST, show_accounts),
    at("/operations/create-account", show_create, create),
    at(_SETTINGS, show_settings, change_settings),
    *(press.route for press in _PRESSES),
)
