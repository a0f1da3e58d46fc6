"""Answers that come as a whole: nobody can stop one in the middle, so all that it may have is held before it starts."""

from typing import NamedTuple

from metering_service.domain.funding import NOTHING, Offer, Offers
from metering_service.domain.report import Report
from metering_service.domain.service import ServiceConfig


class AnswerSize(NamedTuple):
    """How much output an answer may have, over all choices.

    `output_tokens`: all that it may have. `least_tokens`: less than that is of no use. It is no more than the answer's
    own limit and the model's; a reservation that alone pays may have less than that at any time.
    """

    output_tokens: int
    least_tokens: int


def size_of(report: Report, config: ServiceConfig) -> AnswerSize:
    """What a server that cannot stop has to be given for an answer of this model."""
    least_tokens = max(config.smallest_request_tokens, report.min_output_tokens or 0)
    output_tokens = report.max_output_tokens
    if output_tokens is None:
        output_tokens = max(config.whole_output_tokens_default, least_tokens)
    if config.output_tokens_max:
        output_tokens = min(output_tokens, config.output_tokens_max)
    least_tokens = min(least_tokens, output_tokens)
    if only_reserved(config):
        output_tokens = min(output_tokens, config.reserved_output_tpm)
    return AnswerSize(output_tokens, least_tokens)


def only_reserved(config: ServiceConfig) -> bool:
    """Whether nothing pays beside a reservation: then no more can be held at a time than its rate in a minute."""
    return config.reservation_pays and not (config.trial_pays or config.postpaid_pays)


def best_offers(config: ServiceConfig, offers: Offers, trial_units: int, money_units: int) -> Offers:
    """What payers offer if all comes back that others hold or have on lease; what is spent for good does not.

    `trial_units`, `money_units`: what is free, held by others, and leased elsewhere. A rate comes back as far as it
    goes: a minute's worth, unless money pays for what it does not cover.
    """
    best = offers._replace(
        trial=offers.trial._replace(units=trial_units) if offers.trial.pays else NOTHING,
        money=offers.money._replace(units=money_units) if offers.money.pays else NOTHING,
    )
    if config.postpaid_pays:
        return best
    return best._replace(
        reserved_input=_brim(offers.reserved_input, config.reserved_input_tpm),
        reserved_output=_brim(offers.reserved_output, config.reserved_output_tpm),
    )


def accrues_after_ms(missing_tokens: int, tokens_per_minute: int) -> int:
    """How long it takes until this many tokens of a rate have accrued, rounded up."""
    return -(-max(0, missing_tokens) * 60_000 // tokens_per_minute) if tokens_per_minute else 0


def _brim(offer: Offer, tokens_per_minute: int) -> Offer:
    return offer._replace(units=max(offer.units, tokens_per_minute)) if offer.pays else offer
