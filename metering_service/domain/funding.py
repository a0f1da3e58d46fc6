"""Who pays for tokens that are to be held: reservation, then trial, then money; each as far as it goes.

A payer is passed over only when the control service has confirmed that nothing of it is free. So an extension that
meets a payer with too little at hand, not confirmed empty, stops there and says what it wants; what was covered up to
there stands.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from metering_service.domain.price import Price
from metering_service.domain.records import BudgetKind, HeldUnits

RESERVATION_INPUT = BudgetKind.RESERVATION_INPUT
RESERVATION_OUTPUT = BudgetKind.RESERVATION_OUTPUT
TRIAL = BudgetKind.TRIAL
MONEY = BudgetKind.MONEY


class Offer(NamedTuple):
    """What a payer has at hand on this node, and whether it is confirmed that no more can be had."""

    units: int
    exhausted: bool


NOTHING = Offer(0, exhausted=True)
"""The offer of a payer that does not pay for this service now."""


class Offers(NamedTuple):
    """One offer for each payer; tokens, and nanos for money."""

    reserved_input: Offer = NOTHING
    reserved_output: Offer = NOTHING
    trial: Offer = NOTHING
    money: Offer = NOTHING


class Want(NamedTuple):
    """What is missing of a payer that may have more."""

    kind: BudgetKind
    units: int


@dataclass(frozen=True, slots=True)
class Extension:
    """What could be covered, and the payer that must be asked before more can be."""

    held: HeldUnits
    want: Want | None


def required_money(held: HeldUnits, price: Price) -> int:
    """The most that the held tokens which neither reservation nor trial cover can cost, in nanos.

    The trial covers the front of the sequence of kinds, so money is left with the end of it.
    """
    input_rest = held.input_tokens - held.reserved_input_tokens
    output_rest = held.output_ceiling_tokens - held.reserved_output_tokens
    trial_in = min(held.trial_tokens, input_rest)
    return price.hold_nanos(input_rest - trial_in, output_rest - (held.trial_tokens - trial_in))


def extend(held: HeldUnits, input_tokens: int, output_tokens: int, offers: Offers, price: Price) -> Extension:
    """Cover so many tokens of each class in all, as far as the offers go; never less than is held already."""
    draw = _Draw(held, offers, price)
    missing_output = max(0, output_tokens - held.output_ceiling_tokens)
    if draw.cover_input(max(0, input_tokens - held.input_tokens), missing_output):
        draw.cover_output(missing_output)
    return Extension(draw.held, draw.want)


class _Draw:
    """One walk along the payers."""

    def __init__(self, held: HeldUnits, offers: Offers, price: Price) -> None:
        self.held = held
        self.want: Want | None = None
        self._offers = offers
        self._price = price

    def cover_input(self, missing: int, output_ahead: int) -> bool:
        """Cover input; False if not all of it could be. `output_ahead` is asked for along with it."""
        if missing:
            taken = min(missing, self._offers.reserved_input.units)
            self._add(input_tokens=taken, reserved_input_tokens=taken)
            missing -= taken
            if self._ask(missing, self._offers.reserved_input, RESERVATION_INPUT, missing):
                return False
        if missing:
            taken = self._trial(missing, 0)
            missing -= taken
            if self._ask(missing, self._trial_left, TRIAL, missing + output_ahead):
                return False
        if missing:
            taken = self._money(missing, 0)
            missing -= taken
            self._ask_money(missing, output_ahead)
        return missing == 0

    def cover_output(self, missing: int) -> None:
        if not missing:
            return
        taken = min(missing, self._offers.reserved_output.units)
        self._add(output_ceiling_tokens=taken, reserved_output_tokens=taken)
        missing -= taken
        if self._ask(missing, self._offers.reserved_output, RESERVATION_OUTPUT, missing):
            return
        if missing:
            missing -= self._trial(0, missing)
            if self._ask(missing, self._trial_left, TRIAL, missing):
                return
        if missing:
            missing -= self._money(0, missing)
            self._ask_money(0, missing)

    @property
    def _trial_left(self) -> Offer:
        return self._offers.trial

    def _trial(self, missing_input: int, missing_output: int) -> int:
        units, exhausted = self._offers.trial
        taken = min(missing_input + missing_output, units)
        if not taken:
            return 0
        held = replace(
            self.held,
            input_tokens=self.held.input_tokens + (taken if missing_input else 0),
            output_ceiling_tokens=self.held.output_ceiling_tokens + (taken if missing_output else 0),
            trial_tokens=self.held.trial_tokens + taken,
        )
        # A trial that comes after money pushes dearer tokens to the money's end: that must be covered too.
        more_nanos = max(0, required_money(held, self._price) - held.money_nanos)
        if held.billed_tokens and more_nanos > self._offers.money.units:
            return 0
        if not held.billed_tokens:
            more_nanos = 0
        self.held = replace(held, money_nanos=held.money_nanos + more_nanos)
        self._offers = self._offers._replace(
            trial=Offer(units - taken, exhausted),
            money=self._offers.money._replace(units=self._offers.money.units - more_nanos),
        )
        return taken

    def _money(self, missing_input: int, missing_output: int) -> int:
        """Cover tokens of one class with money; they all lie at the end of the sequence of kinds."""
        units = self._offers.money.units
        if units < 0 or (units == 0 and self._offers.money is NOTHING):
            return 0
        held = self.held
        input_rest = held.input_tokens - held.reserved_input_tokens
        output_rest = held.output_ceiling_tokens - held.reserved_output_tokens
        trial_in = min(held.trial_tokens, input_rest)
        money_input, money_output = input_rest - trial_in, output_rest - (held.trial_tokens - trial_in)
        afford = self._price.affordable_input if missing_input else self._price.affordable_output
        missing = missing_input + missing_output
        affordable = afford(units + held.money_nanos, money_input, money_output)
        taken = missing if affordable < 0 else min(missing, affordable)
        if not taken:
            return 0
        self._add(
            input_tokens=taken if missing_input else 0,
            output_ceiling_tokens=taken if missing_output else 0,
            billed_tokens=taken,
        )
        more_nanos = max(0, required_money(self.held, self._price) - held.money_nanos)
        self._add(money_nanos=more_nanos)
        self._offers = self._offers._replace(money=self._offers.money._replace(units=units - more_nanos))
        return taken

    def _ask(self, missing: int, offer: Offer, kind: BudgetKind, units: int) -> bool:
        if missing and not offer.exhausted:
            self.want = Want(kind, units)
            return True
        return False

    def _ask_money(self, missing_input: int, missing_output: int) -> None:
        if (missing_input or missing_output) and not self._offers.money.exhausted:
            all_held = replace(
                self.held,
                input_tokens=self.held.input_tokens + missing_input,
                output_ceiling_tokens=self.held.output_ceiling_tokens + missing_output,
            )
            self.want = Want(MONEY, max(1, required_money(all_held, self._price) - self.held.money_nanos))

    def _add(self, **units: int) -> None:
        self.held = replace(self.held, **{name: getattr(self.held, name) + more for name, more in units.items()})
