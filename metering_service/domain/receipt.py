"""Receipts: which payer covered which tokens of a request."""

from typing import NamedTuple

from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.pot import HeldUnits


class Receipt(NamedTuple):
    """Who paid for a request's tokens. reserved + trial + billed + unfunded == usage, kind by kind."""

    usage: Counts = ZERO
    reserved: Counts = ZERO
    trial: Counts = ZERO
    billed: Counts = ZERO
    unfunded: Counts = ZERO
    overrun_tokens: int = 0
    cost_nanos: int = 0
    debt_nanos: int = 0
    price_version: int = 0
    revision: int = 0


class Used(NamedTuple):
    """Units that a receipt takes from each pot, in the order of `PAYERS`."""

    reserved_input: int
    reserved_output: int
    trial: int
    money_nanos: int


def used(receipt: Receipt) -> Used:
    """What a receipt takes from each pot, debt included."""
    if receipt.reserved is ZERO and receipt.trial is ZERO:
        return Used(0, 0, 0, receipt.cost_nanos)
    return Used(receipt.reserved.input_class, receipt.reserved.output_class, receipt.trial.total, receipt.cost_nanos)


def held_by(receipt: Receipt) -> HeldUnits:
    """A hold of exactly what a receipt says was used: what remains held once a request is booked."""
    usage, reserved, trial, billed, unfunded, _, cost_nanos, *_ = receipt
    if billed is usage:
        input_tokens, output_tokens = usage.input_class, usage.output_class
        return HeldUnits(input_tokens, output_tokens, 0, 0, 0, input_tokens + output_tokens, cost_nanos)
    funded = usage if unfunded is ZERO else usage - unfunded
    return HeldUnits(
        funded.input_class,
        funded.output_class,
        reserved.input_class,
        reserved.output_class,
        trial.total,
        billed.total,
        cost_nanos,
    )
