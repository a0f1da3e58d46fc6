"""Between the fleet's messages and what its use cases take and give."""

from __future__ import annotations

import re
from typing import Final

from control_service.domain.budget import BudgetKind
from control_service.domain.errors import InvalidRequestError
from control_service.domain.lease import LARGEST_UNITS, Availability, Statement
from control_service.domain.names import model_name, price_name
from control_service.domain.node import LEASE_VALIDITY_US
from control_service.domain.payers import Resolution, ServiceConfig, Terms
from control_service.domain.price import Price
from control_service.domain.status import Status, StopReason
from control_service.usecases.exchange import Answer, Asked
from control_service.usecases.settlement import Stated
from control_service.usecases.watcher import Update
from tallygate.control.v1 import (
    budget_pb2,
    config_pb2,
    fleet_service_pb2,
    inference_service_pb2,
    model_pb2,
)

Violations = list[tuple[str, str]]

SUBSCRIBE_MAX: Final = 1_000
NODE_NAME: Final = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_ID_LENGTH_MAX: Final = 128

_KINDS: Final = {
    budget_pb2.BUDGET_KIND_MONEY: BudgetKind.MONEY,
    budget_pb2.BUDGET_KIND_TRIAL: BudgetKind.TRIAL,
    budget_pb2.BUDGET_KIND_RESERVATION_INPUT: BudgetKind.RESERVATION_INPUT,
    budget_pb2.BUDGET_KIND_RESERVATION_OUTPUT: BudgetKind.RESERVATION_OUTPUT,
}
KIND_CODES: Final = {kind: code for code, kind in _KINDS.items()}
_AVAILABILITIES: Final = {
    Availability.AVAILABLE: fleet_service_pb2.BUDGET_AVAILABILITY_AVAILABLE,
    Availability.RECALLING: fleet_service_pb2.BUDGET_AVAILABILITY_RECALLING,
    Availability.EMPTY: fleet_service_pb2.BUDGET_AVAILABILITY_EMPTY,
}
_RESOLUTIONS: Final = {
    Resolution.FOUND: config_pb2.RESOLUTION_FOUND,
    Resolution.UNKNOWN: config_pb2.RESOLUTION_UNKNOWN,
    Resolution.DELETED: config_pb2.RESOLUTION_DELETED,
}
_STATUSES: Final = {
    Status.NOT_ENABLED: inference_service_pb2.SERVICE_STATUS_NOT_ENABLED,
    Status.ACTIVATING: inference_service_pb2.SERVICE_STATUS_ACTIVATING,
    Status.RUNNING: inference_service_pb2.SERVICE_STATUS_RUNNING,
    Status.STOPPED: inference_service_pb2.SERVICE_STATUS_STOPPED,
}
_STOP_REASONS: Final = {
    StopReason.POSTPAID_DISABLED: inference_service_pb2.STOP_REASON_POSTPAID_DISABLED,
    StopReason.TRIAL_EXHAUSTED: inference_service_pb2.STOP_REASON_TRIAL_EXHAUSTED,
    StopReason.TRIAL_EXPIRED: inference_service_pb2.STOP_REASON_TRIAL_EXPIRED,
    StopReason.RESERVATION_ENDED: inference_service_pb2.STOP_REASON_RESERVATION_ENDED,
    StopReason.ACCOUNT_OVERDUE: inference_service_pb2.STOP_REASON_ACCOUNT_OVERDUE,
    StopReason.SUSPENDED: inference_service_pb2.STOP_REASON_SUSPENDED,
}


def check_hello(message: fleet_service_pb2.WatchConfigRequest) -> fleet_service_pb2.NodeHello:
    """The hello that every stream begins with. Raises InvalidRequestError."""
    if message.WhichOneof("message") != "hello":
        raise InvalidRequestError([("hello", "the first message of a stream must say who the node is")])
    hello = message.hello
    violations: Violations = []
    _check_node(violations, "hello.", hello.node, hello.epoch)
    _check_id(violations, "hello.metering_database_id", hello.metering_database_id)
    if violations:
        raise InvalidRequestError(violations)
    return hello


def check_subscription(subscription: fleet_service_pb2.ConfigSubscription) -> None:
    """Raises InvalidRequestError where it asks for too much at once."""
    if len(subscription.subscribe) > SUBSCRIBE_MAX:
        raise InvalidRequestError([("subscription.subscribe", f"at most {SUBSCRIBE_MAX} names fit in a message")])


def asked_of(request: fleet_service_pb2.ExchangeLeasesRequest) -> Asked:
    """What a node asks for. Raises InvalidRequestError with every field that is wrong."""
    violations: Violations = []
    _check_node(violations, "", request.node, request.epoch)
    if request.exchange_number < 1:
        violations.append(("exchange_number", "counts up from 1"))
    lease_ids: set[str] = set()
    for index, statement in enumerate(request.statements):
        path = f"statements[{index}]."
        _check_statement(violations, path, statement)
        if statement.lease_id in lease_ids:
            violations.append((f"{path}lease_id", "names a lease that another statement is about"))
        lease_ids.add(statement.lease_id)
    if violations:
        raise InvalidRequestError(violations)
    return Asked(
        node=request.node,
        epoch=request.epoch,
        exchange_number=request.exchange_number,
        acknowledged_version=request.acknowledged_version,
        stated=[_stated(request.node, request.epoch, statement) for statement in request.statements],
    )


def _check_node(violations: Violations, path: str, node: str, epoch: int) -> None:
    if not NODE_NAME.fullmatch(node):
        violations.append((f"{path}node", f"must be {NODE_NAME.pattern}"))
    if epoch < 1:
        violations.append((f"{path}epoch", "must be at least 1"))


def _check_id(violations: Violations, path: str, value: str) -> None:
    if not 0 < len(value) <= _ID_LENGTH_MAX:
        violations.append((path, f"must have 1 to {_ID_LENGTH_MAX} characters"))


def _check_statement(violations: Violations, path: str, statement: fleet_service_pb2.LeaseStatement) -> None:
    _check_id(violations, f"{path}lease_id", statement.lease_id)
    if statement.budget_kind not in _KINDS:
        violations.append((f"{path}budget_kind", "must be a kind of budget"))
    units = {
        "consumed_units": statement.consumed_units,
        "returned_units": statement.returned_units,
        "held_units": statement.held_units,
        "wanted_units": statement.wanted_units,
        "needed_units": statement.needed_units,
    }
    violations.extend(
        (f"{path}{field}", f"must be from 0 to {LARGEST_UNITS}")
        for field, value in units.items()
        if not 0 <= value <= LARGEST_UNITS
    )


def _stated(node: str, epoch: int, statement: fleet_service_pb2.LeaseStatement) -> Stated:
    return Stated(
        node=node,
        epoch=epoch,
        service_name=statement.inference_service,
        service_uid=statement.inference_service_uid,
        kind=_KINDS[statement.budget_kind],
        statement=Statement(
            lease_id=statement.lease_id,
            consumed_units=statement.consumed_units,
            returned_units=statement.returned_units,
            held_units=statement.held_units,
            wanted_units=statement.wanted_units,
            needed_units=statement.needed_units,
            closing=statement.closing,
        ),
    )


def exchange_response(answers: list[Answer]) -> fleet_service_pb2.ExchangeLeasesResponse:
    """The answers, and how long the node's leases hold now."""
    response = fleet_service_pb2.ExchangeLeasesResponse()
    response.valid_for.FromMicroseconds(LEASE_VALIDITY_US)
    for answer in answers:
        message = response.answers.add(
            lease_id=answer.lease_id,
            granted_units=answer.granted_units,
            availability=_AVAILABILITIES[answer.availability],
            available_units=answer.available_units,
            leased_elsewhere_units=answer.leased_elsewhere_units,
            closed=answer.closed,
        )
        if answer.accrues_after_us is not None:
            message.accrues_after.FromMicroseconds(answer.accrues_after_us)
    return response


def watch_response(update: Update) -> fleet_service_pb2.WatchConfigResponse:
    """One message to a node."""
    return fleet_service_pb2.WatchConfigResponse(
        version=update.version,
        services=[_service_config(config) for config in update.services],
        recalled_lease_ids=update.recalled_lease_ids,
        replenished_service_uids=update.replenished_service_uids,
    )


def _service_config(config: ServiceConfig) -> config_pb2.ServiceConfig:
    message = config_pb2.ServiceConfig(name=config.name, resolution=_RESOLUTIONS[config.resolution])
    if config.terms is not None:
        _add_terms(message, config.terms)
        message.version = config.version
    return message


def _add_terms(message: config_pb2.ServiceConfig, terms: Terms) -> None:
    message.uid = terms.uid
    message.model = model_name(terms.model_id)
    message.status = _STATUSES[terms.status]
    message.stop_reasons.extend(_STOP_REASONS[reason] for reason in StopReason if reason in terms.stop_reasons)
    payers = terms.payers
    message.reservation_pays = payers.reservation
    message.trial_pays = payers.trial
    message.postpaid_pays = payers.postpaid
    message.debt_allowed = payers.debt_allowed
    message.reserved_input_tokens_per_minute = payers.reserved.input_tokens_per_minute
    message.reserved_output_tokens_per_minute = payers.reserved.output_tokens_per_minute
    message.smallest_request_tokens = terms.smallest_request_tokens
    message.outage_policy = inference_service_pb2.OUTAGE_POLICY_DENY
    if terms.price is not None:
        message.price.CopyFrom(_price(terms.price))


def _price(price: Price) -> model_pb2.Price:
    message = model_pb2.Price(
        name=price_name(price.model_id, price.version),
        version=price.version,
        input_nanos_per_million_tokens=price.input_nanos,
        cached_input_nanos_per_million_tokens=price.cached_input_nanos,
        cache_write_nanos_per_million_tokens=price.cache_write_nanos,
        output_nanos_per_million_tokens=price.output_nanos,
        reasoning_nanos_per_million_tokens=price.reasoning_nanos,
    )
    message.effective_time.FromMicroseconds(price.effective_us)
    message.create_time.FromMicroseconds(price.create_us)
    return message
