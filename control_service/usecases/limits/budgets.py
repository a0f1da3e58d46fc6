"""Budgets: creation, lookup, change, deletion."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from control_service.domain.asker import Asker
from control_service.domain.budget import (
    Standing,
    amount_violations,
    budget_violations,
    raise_violations,
    threshold_violations,
    without_ended_raise,
)
from control_service.domain.errors import (
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitMember, Place
from control_service.domain.names import budget_name
from control_service.domain.rate_rule import Violation
from control_service.usecases.budget_thresholds import judge_thresholds
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limit_changes import note_limits
from control_service.usecases.limits.places import living_place, require_few, require_manages, require_reads
from control_service.usecases.limits.standing import standing_of
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class Raise:
    """A greater amount, until a moment."""

    amount_units: int
    end_us: int


@dataclass(frozen=True, slots=True)
class NewBudget:
    """The settings of a budget to be created."""

    budget_id: str
    place: Place
    unit: BudgetUnit
    amount_units: int
    period: BudgetPeriod
    time_zone: str
    member: LimitMember
    soft: bool = False
    temporary_raise: Raise | None = None
    initial_spent_units: int = 0
    threshold_percents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetUpdate:
    """New settings of a budget; None leaves a setting as it is. `end_raise` ends a raise at once."""

    amount_units: int | None = None
    soft: bool | None = None
    temporary_raise: Raise | None = None
    end_raise: bool = False
    threshold_percents: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class BudgetView:
    """A budget, and how it stands."""

    budget: Budget
    standing: Standing


async def create_budget(tx: Transaction, new: NewBudget, asker: Asker, act: Act) -> BudgetView:
    """Adds a budget, also one below what is spent.

    Raises:
        ResourceExistsError: the name is or was in use.
        InvalidRequestError: the budget contradicts itself, what it hangs on is not there, or too much hangs there.
        DeniedError: the asker may not set limits there.
    """
    place = await living_place(tx, new.place)
    await require_manages(tx, place, asker)
    await require_few(tx, place)
    budget = Budget(
        budget_id=new.budget_id,
        uid=act.new_id(),
        place=place,
        unit=new.unit,
        amount_units=new.amount_units,
        period=new.period,
        time_zone=new.time_zone,
        member=new.member,
        soft=new.soft,
        initial_spent_units=new.initial_spent_units,
        threshold_percents=tuple(sorted(new.threshold_percents)),
        create_us=act.now_us,
        update_us=act.now_us,
    )
    budget = _raised(budget, new.temporary_raise)
    _refuse(list(budget_violations(budget, act.now_us)))
    if await tx.budgets.find(place.account_id, new.budget_id) is not None:
        raise ResourceExistsError(budget_name(place.account_id, new.budget_id))
    await tx.budgets.add(budget)
    await note_limits(tx, place.subject)
    return BudgetView(budget, await standing_of(tx, budget, act.now_us))


async def get_budget(tx: Transaction, account_id: str, budget_id: str, asker: Asker, now_us: int) -> BudgetView:
    """The budget, tombstones included. Raises ResourceNotFoundError or DeniedError."""
    budget = await _find(tx, account_id, budget_id)
    await require_reads(tx, budget.place, asker)
    return BudgetView(without_ended_raise(budget, now_us), await standing_of(tx, budget, now_us))


async def update_budget(
    tx: Transaction, account_id: str, budget_id: str, update: BudgetUpdate, *, asker: Asker, act: Act
) -> BudgetView:
    """Changes a budget. No change restarts its count; a threshold that it brings the budget to is told of at once.

    Raises:
        ResourceNotFoundError: there is no such budget.
        RefusedError: RESOURCE_DELETED.
        InvalidRequestError: the budget would contradict itself.
        DeniedError: the asker may not set limits there.
    """
    stored = await _living(tx, account_id, budget_id, asker)
    before = without_ended_raise(stored, act.now_us)
    after = replace(
        before,
        amount_units=before.amount_units if update.amount_units is None else update.amount_units,
        soft=before.soft if update.soft is None else update.soft,
    )
    if update.threshold_percents is not None:
        after = replace(after, threshold_percents=tuple(sorted(update.threshold_percents)))
    if update.end_raise or (not update.temporary_raise and after.amount_units >= after.raised_units):
        after = replace(after, raised_units=0, raised_until_us=None)
    after = _raised(after, update.temporary_raise)
    _refuse(list(_update_violations(after, update, act.now_us)))
    if after != before:
        after = replace(after, update_us=act.now_us)
        await tx.budgets.save(after)
        await note_limits(tx, after.place.subject)
        await judge_thresholds(tx, after, act.now_us)
    return BudgetView(after, await standing_of(tx, after, act.now_us))


async def delete_budget(tx: Transaction, account_id: str, budget_id: str, asker: Asker, act: Act) -> Budget:
    """Leaves a tombstone of a budget. Raises ResourceNotFoundError, RefusedError RESOURCE_DELETED, or DeniedError."""
    budget = await _living(tx, account_id, budget_id, asker)
    deleted = replace(budget, update_us=act.now_us, delete_us=act.now_us)
    await tx.budgets.save(deleted)
    await note_limits(tx, budget.place.subject)
    return deleted


def _raised(budget: Budget, raised: Raise | None) -> Budget:
    if raised is None:
        return budget
    return replace(budget, raised_units=raised.amount_units, raised_until_us=raised.end_us)


def _update_violations(after: Budget, update: BudgetUpdate, now_us: int) -> Iterator[Violation]:
    yield from amount_violations(after)
    yield from threshold_violations(after.threshold_percents)
    if update.temporary_raise is not None:
        yield from raise_violations(after, now_us)
        if update.end_raise:
            yield "end_raise", "must not be set together with temporary_raise, which takes the place of the one before"


def _refuse(violations: list[Violation]) -> None:
    if violations:
        raise InvalidRequestError(violations)


async def _living(tx: Transaction, account_id: str, budget_id: str, asker: Asker) -> Budget:
    """The budget, not deleted, which the asker may change."""
    budget = await _find(tx, account_id, budget_id)
    await require_manages(tx, budget.place, asker)
    if budget.deleted:
        message = f"{budget.name} is deleted, and names are never used again; create another budget."
        raise RefusedError(Reason.RESOURCE_DELETED, message, resource=budget.name)
    return budget


async def _find(tx: Transaction, account_id: str, budget_id: str) -> Budget:
    budget = await tx.budgets.find(account_id, budget_id)
    if budget is None:
        raise ResourceNotFoundError(budget_name(account_id, budget_id))
    return budget
