"""Bugs planted in how budgets are leased, held, booked and recovered."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from control_service.domain import limit_pot
from metering_service.domain import request
from metering_service.usecases.reports import cover
from metering_service.usecases.state import pot_charges
from metering_service.usecases.state.pot_state import pots_of
from metering_service.usecases.upkeep import crash_recovery
from tests.simulation.planting import mutation_of_limits


@mutation_of_limits
def recovery_forgets_the_pots() -> AbstractContextManager[Any]:
    """What a lost node left is booked on its payers' leases alone."""
    return patch.object(crash_recovery, "budget_pots", lambda _pots: iter(()))


@mutation_of_limits
def what_is_unpaid_is_not_counted() -> AbstractContextManager[Any]:
    """A pot is charged what was held, and not what a request used beyond it."""
    real = pot_charges.book

    def book(index: Any, booked: Any, booking: Any) -> None:
        receipt = booking.receipt
        held = receipt.usage.total - receipt.unfunded.total - receipt.overrun_tokens
        fewer = receipt.usage.total - max(0, held)
        usage = receipt.usage._replace(output=max(0, receipt.usage.output - fewer))
        real(index, booked, booking._replace(receipt=receipt._replace(usage=usage)))

    return patch.object(pot_charges, "book", book)


@mutation_of_limits
def renewals_are_not_held() -> AbstractContextManager[Any]:
    """A pot has the first grant set aside, and none of those after it."""
    real = pot_charges.hold

    def hold(index: Any, held_for: Any, held: Any, now_ns: int) -> None:
        if held_for.held == request.NOTHING_HELD:
            real(index, held_for, held, now_ns)

    return patch.object(pot_charges, "hold", hold)


@mutation_of_limits
def only_the_first_budget_refuses() -> AbstractContextManager[Any]:
    """Of several budgets, only one is asked."""
    real = cover.enforced_pots
    return patch.object(cover, "enforced_pots", lambda *arguments: real(*arguments)[:1])


@mutation_of_limits
def only_the_first_budget_is_charged() -> AbstractContextManager[Any]:
    """Of several budgets, only one is charged; the records have all."""
    return patch.object(pot_charges, "pots_of", lambda *arguments: list(pots_of(*arguments))[:1])


@mutation_of_limits
def budget_granted_without_checking() -> AbstractContextManager[Any]:
    """Control leases a budget's pot beyond its amount."""
    real = limit_pot.BudgetPot.as_quantity
    return patch.object(limit_pot.BudgetPot, "as_quantity", lambda self, **_: real(self, soft=True))


@mutation_of_limits
def change_restarts_the_count() -> AbstractContextManager[Any]:
    """A budget whose amount has changed begins to count anew."""
    real = limit_pot.BudgetPot.at

    def at(self: Any, budget: Any, now_us: int) -> Any:
        pot = real(self, budget, now_us)
        return pot if pot.capacity_units == self.capacity_units else replace(pot, spent_units=0)

    return patch.object(limit_pot.BudgetPot, "at", at)
