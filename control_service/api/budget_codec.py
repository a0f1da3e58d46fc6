"""Budgets on the wire."""

from control_service.api.fields import Fields
from control_service.api.limit_fields import decode_budget_name, decode_place, required_member
from control_service.domain.budget import Standing
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitMember, LimitSubject
from control_service.domain.time_zone import UTC
from control_service.usecases.limits.budgets import BudgetUpdate, BudgetView, NewBudget, Raise
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import budget_pb2, limit_config_pb2
from tallygate.control.v1 import limit_service_pb2 as pb


def decode_create(request: pb.CreateBudgetRequest) -> tuple[str, NewBudget]:
    """The account, and the budget to be created. Raises InvalidRequestError."""
    with Fields() as fields:
        account_id, budget_id = decode_budget_name(fields, request.name)
        return account_id, NewBudget(
            budget_id=budget_id,
            place=decode_place(fields, request.place, LimitSubject(account_id)),
            unit=required_member(fields, "unit", budget_pb2.BudgetUnit, request.unit, BudgetUnit.TOKENS),
            amount_units=request.amount_units,
            period=required_member(fields, "period", budget_pb2.CalendarPeriod, request.period, BudgetPeriod.IN_ALL),
            time_zone=request.time_zone or UTC,
            member=fields.member("member", limit_config_pb2.LimitMember, request.member, LimitMember)
            or LimitMember.SHARED,
            soft=request.soft,
            temporary_raise=_decode_raise(fields, request),
            initial_spent_units=request.initial_spent_units,
            threshold_percents=tuple(request.threshold_percents),
        )


def decode_update(request: pb.UpdateBudgetRequest) -> tuple[tuple[str, str], BudgetUpdate]:
    """Which budget, and its new settings. Raises InvalidRequestError."""
    with Fields() as fields:
        key = decode_budget_name(fields, request.name)
        has_thresholds = request.HasField("threshold_percents")
        return key, BudgetUpdate(
            amount_units=request.amount_units if request.HasField("amount_units") else None,
            soft=request.soft if request.HasField("soft") else None,
            temporary_raise=_decode_raise(fields, request),
            end_raise=request.end_raise,
            threshold_percents=tuple(request.threshold_percents.percents) if has_thresholds else None,
        )


def _decode_raise(fields: Fields, request: pb.CreateBudgetRequest | pb.UpdateBudgetRequest) -> Raise | None:
    if not request.HasField("temporary_raise"):
        return None
    raised = request.temporary_raise
    return Raise(raised.amount_units, fields.moment_us("temporary_raise.end_time", raised.end_time))


def encode_budget(budget: Budget) -> budget_pb2.Budget:
    """A budget as people see it."""
    raised = None
    if budget.raised_until_us is not None:
        end = encode_timestamp(budget.raised_until_us)
        raised = budget_pb2.BudgetRaise(amount_units=budget.raised_units, end_time=end)
    return budget_pb2.Budget(
        name=budget.name,
        uid=budget.uid,
        place=budget.place.name,
        unit=encode_enum(budget_pb2.BudgetUnit, budget.unit),
        amount_units=budget.amount_units,
        period=encode_enum(budget_pb2.CalendarPeriod, budget.period),
        time_zone=budget.time_zone,
        member=encode_enum(limit_config_pb2.LimitMember, budget.member),
        soft=budget.soft,
        temporary_raise=raised,
        initial_spent_units=budget.initial_spent_units,
        threshold_percents=budget.threshold_percents,
        create_time=encode_timestamp(budget.create_us),
        update_time=encode_timestamp(budget.update_us),
        delete_time=encode_timestamp(budget.delete_us),
    )


def encode_standing(standing: Standing) -> budget_pb2.BudgetStanding:
    """How a budget stands."""
    return budget_pb2.BudgetStanding(
        amount_units=standing.amount_units,
        spent_units=standing.spent_units,
        stops_requests=standing.stops_requests,
        period_end_time=encode_timestamp(standing.period_end_us),
        stopped_members=standing.stopped_members,
        pace_start_time=encode_timestamp(standing.pace_start_us),
        used_up_time=encode_timestamp(standing.used_up_us),
    )


def encode_created(view: BudgetView) -> pb.CreateBudgetResponse:
    """The response to a creation."""
    return pb.CreateBudgetResponse(budget=encode_budget(view.budget), standing=encode_standing(view.standing))


def encode_updated(view: BudgetView) -> pb.UpdateBudgetResponse:
    """The response to a change."""
    return pb.UpdateBudgetResponse(budget=encode_budget(view.budget), standing=encode_standing(view.standing))
