"""Who pays for tokens that are to be held: reservation, then trial, then money; each as far as it goes.

A payer is passed over only when the control service has confirmed that nothing of it is free. So an extension that
meets a payer with too little at hand, not confirmed empty, stops there and says what it wants; what was covered up to
there stands.
"""

from bisect import bisect_right
from collections.abc import Callable
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
    pays: bool = True
    """False for one that does not pay for this service now: not even for tokens that cost nothing."""


NOTHING = Offer(0, exhausted=True, pays=False)
"""The offer of a payer that does not pay for this service now."""


class Offers(NamedTuple):
    """One offer for each payer; tokens, and nanos for money."""

    reserved_input: Offer = NOTHING
    reserved_output: Offer = NOTHING
    trial: Offer = NOTHING
    money: Offer = NOTHING


class Want(NamedTuple):
    """A payer that may have more, and how much of it must be free for this extension: what it took and what it lacks.

    An authorisation that has to wait holds nothing, so what it would have taken is free again and counts as well.
    """

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
        self._before = held
        self._offers = offers
        self._price = price

    def cover_input(self, missing: int, output_ahead: int) -> bool:
        """Cover input; False if not all of it could be. `output_ahead` is asked for along with it."""
        if not missing:
            return True
        offer = self._offers.reserved_input
        taken = min(missing, offer.units)
        self._add(input_tokens=taken, reserved_input_tokens=taken)
        missing -= taken
        if missing and not offer.exhausted:
            self.want = Want(RESERVATION_INPUT, taken + missing)
            return False
        if missing:
            missing -= self._trial(missing, self._input_by_trial)
            if missing and not self._offers.trial.exhausted:
                self._ask_trial(missing + output_ahead)
                return False
        if missing:
            missing -= self._money(missing, self._input_by_money)
            if missing:
                self._ask_money(missing, output_ahead)
        return missing == 0

    def cover_output(self, missing: int) -> None:
        """Cover output, as far as it goes."""
        if not missing:
            return
        offer = self._offers.reserved_output
        taken = min(missing, offer.units)
        self._add(output_ceiling_tokens=taken, reserved_output_tokens=taken)
        missing -= taken
        if missing and not offer.exhausted:
            self.want = Want(RESERVATION_OUTPUT, taken + missing)
            return
        if missing:
            missing -= self._trial(missing, self._output_by_trial)
            if missing and not self._offers.trial.units and not self._offers.trial.exhausted:
                self._ask_trial(missing)
                return
        if missing:
            missing -= self._money(missing, self._output_by_money)
            if missing:
                self._ask_money(0, missing)

    def _trial(self, missing: int, plus: Callable[[int], HeldUnits]) -> int:
        """Cover tokens with the trial. After money, it may push dearer tokens to the money's end of the sequence."""
        offer = self._offers.trial
        taken = self._affordable(min(missing, offer.units), plus)
        self._offers = self._offers._replace(trial=offer._replace(units=offer.units - taken))
        self._take(plus(taken))
        return taken

    def _money(self, missing: int, plus: Callable[[int], HeldUnits]) -> int:
        taken = self._affordable(missing, plus) if self._offers.money.pays else 0
        self._take(plus(taken))
        return taken

    def _affordable(self, tokens: int, plus: Callable[[int], HeldUnits]) -> int:
        """How many of so many tokens the money at hand carries, whatever their kinds turn out to be."""

        def cost_nanos(count: int) -> int:
            return required_money(plus(count), self._price)

        # What is held may need more than was set aside for it where its real kinds, once settled, were cheaper.
        limit_nanos = max(self.held.money_nanos + self._offers.money.units, cost_nanos(0))
        if cost_nanos(tokens) <= limit_nanos:
            return tokens
        return bisect_right(range(tokens + 1), limit_nanos, key=cost_nanos) - 1

    def _take(self, held: HeldUnits) -> None:
        """Hold that, and the money that it may need."""
        more_nanos = max(0, required_money(held, self._price) - held.money_nanos) if held.billed_tokens else 0
        money = self._offers.money
        more_nanos = min(more_nanos, money.units)
        self.held = replace(held, money_nanos=held.money_nanos + more_nanos) if more_nanos else held
        self._offers = self._offers._replace(money=money._replace(units=money.units - more_nanos))

    def _ask_trial(self, missing: int) -> None:
        self.want = Want(TRIAL, self.held.trial_tokens - self._before.trial_tokens + missing)

    def _ask_money(self, missing_input: int, missing_output: int) -> None:
        if not self._offers.money.exhausted:
            all_held = replace(
                self.held,
                input_tokens=self.held.input_tokens + missing_input,
                output_ceiling_tokens=self.held.output_ceiling_tokens + missing_output,
            )
            self.want = Want(MONEY, max(1, required_money(all_held, self._price) - self._before.money_nanos))

    def _input_by_trial(self, tokens: int) -> HeldUnits:
        held = self.held
        return replace(held, input_tokens=held.input_tokens + tokens, trial_tokens=held.trial_tokens + tokens)

    def _output_by_trial(self, tokens: int) -> HeldUnits:
        held = self.held
        ceiling = held.output_ceiling_tokens + tokens
        return replace(held, output_ceiling_tokens=ceiling, trial_tokens=held.trial_tokens + tokens)

    def _input_by_money(self, tokens: int) -> HeldUnits:
        held = self.held
        return replace(held, input_tokens=held.input_tokens + tokens, billed_tokens=held.billed_tokens + tokens)

    def _output_by_money(self, tokens: int) -> HeldUnits:
        held = self.held
        ceiling = held.output_ceiling_tokens + tokens
        return replace(held, output_ceiling_tokens=ceiling, billed_tokens=held.billed_tokens + tokens)

    def _add(self, **units: int) -> None:
        self.held = replace(self.held, **{name: getattr(self.held, name) + more for name, more in units.items()})
