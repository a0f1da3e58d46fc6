"""The payers of tokens that are to be held: reservation, then trial, then money; each as far as it goes.

A payer is passed over only when the control service has confirmed that nothing of it is free. So an extension that
meets a payer with too little at hand, not confirmed empty, stops there and says what it wants; what was covered up to
there stands.
"""

from bisect import bisect_right
from typing import Final, NamedTuple

from metering_service.domain.pot import HeldUnits, PotKind
from metering_service.domain.price import Price

RESERVATION_INPUT: Final = PotKind.RESERVATION_INPUT
RESERVATION_OUTPUT: Final = PotKind.RESERVATION_OUTPUT
TRIAL: Final = PotKind.TRIAL
MONEY: Final = PotKind.MONEY


class Offer(NamedTuple):
    """What a payer has at hand on this node, and whether it is confirmed that no more can be had."""

    units: int
    exhausted: bool
    pays: bool = True
    """False for one that does not pay for this service now: not even for tokens that cost nothing."""


NOTHING: Final = Offer(0, exhausted=True, pays=False)
"""The offer of a payer that does not pay for this service now."""


UNBOUNDED: Final = Offer(1 << 60, exhausted=True)
"""Offer of a payer that never runs out: what a request would need of it."""


UNKNOWN: Final = Offer(0, exhausted=False)
"""The offer of a pot of which nothing is known to be on lease: control may have more."""


class Offers(NamedTuple):
    """One offer for each payer; tokens, and nanos for money."""

    reserved_input: Offer = NOTHING
    reserved_output: Offer = NOTHING
    trial: Offer = NOTHING
    money: Offer = NOTHING

    def unbounded(self, kind: PotKind) -> "Offers":
        """The same, if one payer never ran out."""
        return self._replace(**{_OFFER_OF[kind]: UNBOUNDED})


_OFFER_OF: Final = {
    RESERVATION_INPUT: "reserved_input",
    RESERVATION_OUTPUT: "reserved_output",
    TRIAL: "trial",
    MONEY: "money",
}


class Want(NamedTuple):
    """A payer that may have more, and how much of it must be free for this extension: what it took and what it lacks.

    An authorisation that has to wait holds nothing, so what it would have taken is free again and counts as well.
    """

    kind: PotKind
    units: int


class Extension(NamedTuple):
    """What could be covered, and the payer that must be asked before more can be."""

    held: HeldUnits
    want: Want | None

    @property
    def may_have_more(self) -> bool:
        """Whether it is not confirmed yet that there is no more."""
        return self.want is not None


def required_money(held: HeldUnits, price: Price) -> int:
    """The most that the held tokens which neither reservation nor trial cover can cost, in nanos.

    The trial covers the front of the sequence of kinds, so money is left with the end of it.
    """
    input_rest = held.input_tokens - held.reserved_input_tokens
    output_rest = held.output_ceiling_tokens - held.reserved_output_tokens
    return _money_needed(input_rest, output_rest, held.trial_tokens, price)


def _money_needed(input_tokens: int, output_tokens: int, trial_tokens: int, price: Price) -> int:
    trial_in = min(trial_tokens, input_tokens)
    return price.hold_nanos(input_tokens - trial_in, output_tokens - (trial_tokens - trial_in))


def extend(
    held: HeldUnits,
    input_tokens: int,
    output_tokens: int,
    offers: Offers,
    price: Price,
    *,
    tokens_max: int | None = None,
) -> Extension:
    """Cover this many tokens of each class in all, as far as the offers go; never less than is held already.

    Without a price money covers nothing: it cannot be said what a token costs, and absent is not free.
    `tokens_max`: cover at most this many more, with all payers together.
    """
    if price.is_absent:
        offers = offers._replace(money=NOTHING)
    missing_input = max(0, input_tokens - held.input_tokens)
    missing_output = max(0, output_tokens - held.output_ceiling_tokens)
    if tokens_max is not None:
        missing_input = min(missing_input, tokens_max)
        missing_output = min(missing_output, tokens_max - missing_input)
    whole = _by_one_payer(
        held, held.input_tokens + missing_input, held.output_ceiling_tokens + missing_output, offers, price
    )
    if whole is not None:
        return Extension(whole, None)
    draw = _Draw(held, offers, price)
    if draw.cover_input(missing_input, missing_output):
        draw.cover_output(missing_output)
    return Extension(draw.held, draw.want)


def _by_one_payer(
    held: HeldUnits, input_tokens: int, output_tokens: int, offers: Offers, price: Price
) -> HeldUnits | None:
    """The extension where one payer has enough for all of it: what `_Draw` would come to, in a tenth of the time.

    None where it takes more than that.
    """
    reserved_input, reserved_output, trial, money = offers
    if held.reserved_input_tokens or held.reserved_output_tokens or reserved_input.pays or reserved_output.pays:
        return None
    missing = input_tokens + output_tokens - held.input_tokens - held.output_ceiling_tokens
    if not held.billed_tokens and not held.money_nanos and missing <= trial.units:
        return HeldUnits(input_tokens, output_tokens, 0, 0, held.trial_tokens + missing, 0, 0)
    if held.trial_tokens or trial.units or not trial.exhausted or not money.pays:
        return None
    needed_nanos = price.hold_nanos(input_tokens, output_tokens)
    if needed_nanos > held.money_nanos + money.units:
        return None
    money_nanos = max(held.money_nanos, needed_nanos)
    return HeldUnits(input_tokens, output_tokens, 0, 0, 0, held.billed_tokens + missing, money_nanos)


class _Way(NamedTuple):
    """Which of the counts grow with each token that one payer covers of one class."""

    input: int
    output: int
    trial: int


INPUT_BY_TRIAL: Final = _Way(1, 0, 1)
OUTPUT_BY_TRIAL: Final = _Way(0, 1, 1)
INPUT_BY_MONEY: Final = _Way(1, 0, 0)
OUTPUT_BY_MONEY: Final = _Way(0, 1, 0)


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
            missing -= self._trial(missing, INPUT_BY_TRIAL)
            if missing and not self._offers.trial.exhausted:
                self._ask_trial(missing + output_ahead)
                return False
        if missing:
            missing -= self._money(missing, INPUT_BY_MONEY)
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
            missing -= self._trial(missing, OUTPUT_BY_TRIAL)
            if missing and not self._offers.trial.units and not self._offers.trial.exhausted:
                self._ask_trial(missing)
                return
        if missing:
            missing -= self._money(missing, OUTPUT_BY_MONEY)
            if missing:
                self._ask_money(0, missing)

    def _trial(self, missing: int, way: _Way) -> int:
        """Cover tokens with the trial. After money, it may push dearer tokens to the money's end of the sequence."""
        offer = self._offers.trial
        taken = self._affordable(min(missing, offer.units), way)
        self._offers = self._offers._replace(trial=offer._replace(units=offer.units - taken))
        self._take(taken, way)
        return taken

    def _money(self, missing: int, way: _Way) -> int:
        taken = self._affordable(missing, way) if self._offers.money.pays else 0
        self._take(taken, way)
        return taken

    def _affordable(self, tokens: int, way: _Way) -> int:
        """How many of these tokens the money at hand carries, whatever their kinds turn out to be."""
        held, price = self.held, self._price
        input_rest = held.input_tokens - held.reserved_input_tokens
        output_rest = held.output_ceiling_tokens - held.reserved_output_tokens

        def cost_nanos(count: int) -> int:
            trial_tokens = held.trial_tokens + count * way.trial
            return _money_needed(input_rest + count * way.input, output_rest + count * way.output, trial_tokens, price)

        # What is held may need more than was set aside for it where its real kinds, once booked, were cheaper.
        limit_nanos = max(held.money_nanos + self._offers.money.units, cost_nanos(0))
        if cost_nanos(tokens) <= limit_nanos:
            return tokens
        return bisect_right(range(tokens + 1), limit_nanos, key=cost_nanos) - 1

    def _take(self, tokens: int, way: _Way) -> None:
        """Hold this many more tokens, and the money that they may need."""
        if not tokens:
            return
        self._add(
            input_tokens=tokens * way.input,
            output_ceiling_tokens=tokens * way.output,
            trial_tokens=tokens * way.trial,
            billed_tokens=tokens * (1 - way.trial),
        )
        if not self.held.billed_tokens:
            return
        money = self._offers.money
        more_nanos = min(money.units, max(0, required_money(self.held, self._price) - self.held.money_nanos))
        self._add(money_nanos=more_nanos)
        self._offers = self._offers._replace(money=money._replace(units=money.units - more_nanos))

    def _ask_trial(self, missing: int) -> None:
        self.want = Want(TRIAL, self.held.trial_tokens - self._before.trial_tokens + missing)

    def _ask_money(self, missing_input: int, missing_output: int) -> None:
        if not self._offers.money.exhausted:
            all_held = self.held._replace(
                input_tokens=self.held.input_tokens + missing_input,
                output_ceiling_tokens=self.held.output_ceiling_tokens + missing_output,
            )
            self.want = Want(MONEY, max(1, required_money(all_held, self._price) - self._before.money_nanos))

    def _add(self, **units: int) -> None:
        self.held = self.held._replace(**{name: getattr(self.held, name) + more for name, more in units.items()})
