"""Requests that are on record, brought back into memory."""

from metering_service.domain.price import Price
from metering_service.domain.receipt import used
from metering_service.domain.records import RequestRecord
from metering_service.domain.request import Request


def revive(record: RequestRecord) -> Request:
    """A request as its record left it: booked as far as the receipt goes."""
    price = Price(record.receipt.price_version, *record.price_nanos_per_million)
    request = Request(
        record.request_id,
        record.part,
        service=record.service,
        service_uid=record.service_uid,
        price=price,
        debt_allowed=record.debt_allowed,
        start_us=record.start_us,
        stamp=record.stamp,
    )
    request.tally = record.tally
    request.state = record.state
    request.authorised = record.part != ""
    request.is_owned = True
    request.receipt = record.receipt
    request.held = record.held
    request.booked_us = record.booked_us
    request.labels = record.labels
    request.predecessor_part = record.predecessor_part
    request.base_input_tokens = record.base_input_tokens
    request.base_output_tokens = record.base_output_tokens
    request.hold_for_us = record.hold_for_us
    request.told = record.told
    if record.booked_us is not None:
        request.booked = used(record.receipt)
    return request
