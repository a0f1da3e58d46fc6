"""Budgets: the tree of what they hang on, how each of them stands, and what owners change about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import show
from tallygate.console.currency import currency_of
from tallygate.console.forms import Form
from tallygate.console.limits import PLACE_HINT, Branch, place_of, tree_of
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import limit_service_pb2 as pb
from tallygate.control.v1.budget_pb2 import BudgetRaise, BudgetUnit, CalendarPeriod
from tallygate.control.v1.limit_config_pb2 import LimitMember
from tallygate.control.v1.limit_service_pb2_grpc import LimitServiceStub

PAGE_SIZE: Final = 25
"""Maximum number of budgets on a page; how each stands is a call of its own."""
RAISE: Final = ("temporary_raise.amount_units", "temporary_raise.end_time")
"""Fields of a greater amount for a time; a raise ends where both are left empty."""
_LIST: Final = "/accounts/{account}/budgets"
_BUDGET: Final = "/accounts/{account}/budgets/{budget}"
_MONEY: Final = "MONEY"


async def show_budgets(visit: Visit) -> Response:
    """A page of budgets by what they hang on, and how each stands."""
    stub = LimitServiceStub(visit.control)
    request = pb.ListBudgetsRequest(account=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer, currency = await asyncio.gather(stub.ListBudgets(request), currency_of(visit))
    names = [pb.GetBudgetRequest(name=budget.name) for budget in answer.budgets]
    standings = await asyncio.gather(*(stub.GetBudget(name) for name in names))
    return visit.page(
        "budgets.html",
        tree=_tree(standings),
        currency=currency,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.LIMITS_MANAGE),
    )


async def show_budget(visit: Visit) -> Response:
    """A budget, and how it stands."""
    found, currency = await asyncio.gather(_found(visit), currency_of(visit))
    return visit.page(
        "budget.html",
        it=found,
        currency=currency,
        may_manage=visit.may(Permission.LIMITS_MANAGE) and not found.budget.HasField("delete_time"),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new budget."""
    return visit.page(
        "create_budget.html",
        currency=await currency_of(visit),
        units=show.enum_choices(BudgetUnit)[::-1],
        periods=show.enum_choices(CalendarPeriod)[::-1],
        members=show.enum_choices(LimitMember),
        place_hint=PLACE_HINT,
    )


async def create(visit: Visit) -> Response:
    """Create it; the answer says whether that stops anything."""
    form = visit.form
    is_money = form.text("unit") == _MONEY
    request = pb.CreateBudgetRequest(
        name=f"{visit.account}/budgets/{form.text('name')}",
        place=place_of(visit),
        unit=form.chosen("unit", BudgetUnit),
        amount_units=_units(form, "amount_units", is_money=is_money),
        period=form.chosen("period", CalendarPeriod),
        time_zone=form.text("time_zone"),
        member=form.chosen("member", LimitMember),
        soft=form.has("soft"),
        initial_spent_units=_units(form, "initial_spent_units", is_money=is_money),
        threshold_percents=form.numbers("threshold_percents"),
        idempotency_key=visit.idempotency_key,
    )
    answer = await LimitServiceStub(visit.control).CreateBudget(request)
    stops = " It stops requests already." if answer.standing.stops_requests else ""
    return visit.done(f"The budget is created.{stops}", f"/{answer.budget.name}")


async def show_edit(visit: Visit) -> Response:
    """The form of a budget that there is."""
    found, currency = await asyncio.gather(_found(visit), currency_of(visit))
    return visit.page("edit_budget.html", it=found, currency=currency)


async def edit(visit: Visit) -> Response:
    """Change the figures that were changed on the page; no change restarts a count."""
    form, budget = visit.form, (await _found(visit)).budget
    is_money = budget.unit == BudgetUnit.BUDGET_UNIT_MONEY
    request = pb.UpdateBudgetRequest(
        name=budget.name,
        amount_units=_units(form, "amount_units", is_money=is_money) if form.changed("amount_units") else None,
        soft=form.has("soft") if form.changed("soft") else None,
        idempotency_key=visit.idempotency_key,
    )
    if form.changed("threshold_percents"):
        request.threshold_percents.CopyFrom(pb.PercentList(percents=form.numbers("threshold_percents")))
    if any(map(form.changed, RAISE)):
        if any(map(form.text, RAISE)):
            raised = _units(form, RAISE[0], is_money=is_money)
            request.temporary_raise.CopyFrom(BudgetRaise(amount_units=raised, end_time=form.time(RAISE[1])))
        else:
            request.end_raise = True
    answer = await LimitServiceStub(visit.control).UpdateBudget(request)
    stops = " It stops requests now." if answer.standing.stops_requests else ""
    return visit.done(f"The budget is changed.{stops}", f"/{budget.name}")


async def _found(visit: Visit) -> pb.GetBudgetResponse:
    name = f"{visit.account}/budgets/{visit.request.path_params['budget']}"
    found: pb.GetBudgetResponse = await LimitServiceStub(visit.control).GetBudget(pb.GetBudgetRequest(name=name))
    return found


def _tree(found: Iterable[pb.GetBudgetResponse]) -> list[Branch[pb.GetBudgetResponse]]:
    return tree_of(found, lambda one: one.budget.place)


def _units(form: Form, field: str, *, is_money: bool) -> int:
    """Nanos of an amount, or tokens."""
    return (form.nanos(field) or 0) if is_money else form.number(field)


_DELETE: Final = Press(
    path=f"{_BUDGET}/delete",
    name="accounts/{account}/budgets/{budget}",
    title="Delete the budget {budget}",
    says=(
        "It refuses nothing any more, and what it has counted is gone.",
        "Its name is never used again.",
    ),
    button="Delete the budget",
    done="The budget is deleted.",
    back=_LIST,
    stub=LimitServiceStub,
    request=pb.DeleteBudgetRequest,
    kind=DANGER,
)

NAV: Final = (Entry("Budgets", _LIST, Permission.LIMITS_READ),)
ROUTES: Final = (
    at(_LIST, show_budgets),
    at("/accounts/{account}/create-budget", show_create, create),
    at(_BUDGET, show_budget),
    at(f"{_BUDGET}/edit", show_edit, edit),
    _DELETE.route,
)
