"""Receipts: who paid for a request's tokens."""

from typing import NamedTuple

from metering_service.domain.counts import ZERO, Counts


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
