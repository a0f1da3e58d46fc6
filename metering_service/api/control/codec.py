"""Between the wire and the domain, for configuration and leases."""

from collections.abc import Sequence
from functools import lru_cache
from sys import intern
from typing import Final

from metering_service.api.control.limit_codec import encode_limit_pot
from metering_service.domain.lease import LeaseAnswer, LeaseStatement
from metering_service.domain.pot import PotKind
from metering_service.domain.price import NO_PRICE, Price
from metering_service.domain.records import EpochMark
from metering_service.domain.service import WHOLE_OUTPUT_TOKENS_DEFAULT, ServiceConfig, Status, StopReason
from tallygate._access.refusals import RefusedCalls
from tallygate._server.clock import NS_PER_US
from tallygate._wire.enums import decode_table, encode_table
from tallygate._wire.times import decode_ns, encode_duration, encode_timestamp
from tallygate.control.v1 import config_pb2, fleet_service_pb2, inference_service_pb2, pot_pb2

NS_PER_MS: Final = 1_000_000
SHARED_MAX: Final = 4_096
"""Maximum number of prices, and of sets of reasons, of which all services have the same object."""

_STATUSES: Final = {
    inference_service_pb2.SERVICE_STATUS_NOT_ENABLED: Status.NOT_ENABLED,
    inference_service_pb2.SERVICE_STATUS_ACTIVATING: Status.ACTIVATING,
    inference_service_pb2.SERVICE_STATUS_RUNNING: Status.RUNNING,
    inference_service_pb2.SERVICE_STATUS_STOPPED: Status.STOPPED,
}
_OPEN_POLICIES: Final = (
    inference_service_pb2.CREDENTIAL_POLICY_UNSPECIFIED,
    inference_service_pb2.CREDENTIAL_POLICY_OPEN,
)
_STOP_REASONS: Final = decode_table(inference_service_pb2.StopReason, StopReason)
KINDS: Final = encode_table(pot_pb2.PotKind, PotKind)


def decode_config(message: config_pb2.ServiceConfig) -> ServiceConfig:
    """A service's configuration as control sent it. A status that this program does not know means no."""
    if message.resolution == config_pb2.RESOLUTION_UNKNOWN:
        return ServiceConfig(message.name, Status.UNKNOWN, version=message.version)
    deleted = message.resolution == config_pb2.RESOLUTION_DELETED
    found = message.resolution == config_pb2.RESOLUTION_FOUND
    continues = message.outage_policy == inference_service_pb2.OUTAGE_POLICY_CONTINUE
    return ServiceConfig(
        name=message.name,
        status=_STATUSES.get(message.status, Status.STOPPED) if found else Status.DELETED,
        uid=message.uid,
        stop_reasons=_shared_reasons(*message.stop_reasons),
        reservation_pays=message.reservation_pays and not deleted,
        trial_pays=message.trial_pays and not deleted,
        postpaid_pays=message.postpaid_pays and not deleted,
        # What runs is booked as it was authorised; nobody is in debt for what nobody authorised.
        debt_allowed=message.debt_allowed and not deleted,
        price=_decode_price(message),
        smallest_request_tokens=max(1, message.smallest_request_tokens),
        output_tokens_max=message.output_tokens_max,
        # Of a control service from before there was the setting nothing is said.
        whole_output_tokens_default=message.whole_output_tokens_default or WHOLE_OUTPUT_TOKENS_DEFAULT,
        reserved_input_tpm=message.reserved_input_tokens_per_minute,
        reserved_output_tpm=message.reserved_output_tokens_per_minute,
        outage_tokens_max=message.outage_tokens_max if continues else 0,
        # Services are many, and most of what they have they share: each copy would stay as long as its service.
        team=intern(message.team),
        version=message.version,
        model=intern(message.model),
        exempt_from_model_rules=message.exempt_from_model_rules,
        # A policy that this program does not know is a stricter one.
        requires_key=message.credential_policy not in _OPEN_POLICIES,
        shared=message.shared,
    )


def encode_hello(
    node: str,
    epoch: int,
    database_id: str,
    history: Sequence[EpochMark],
    *,
    caretaker: str = "",
    leases_kept_ns: int = 0,
) -> fleet_service_pb2.NodeHello:
    """Who a node is, what its database says of the past, and which node takes it over, if one does.

    `leases_kept_ns`: how long from now on leases of earlier epochs stay open at the least.
    """
    marks = [
        fleet_service_pb2.NodeMark(
            node=mark.node, epoch=mark.epoch, commit_no=mark.commit_no, exchange_number=mark.exchange_answered
        )
        for mark in history
    ]
    return fleet_service_pb2.NodeHello(
        node=node,
        epoch=epoch,
        metering_database_id=database_id,
        history=marks,
        caretaker=caretaker,
        leases_kept_for=encode_duration(leases_kept_ns // NS_PER_US) if leases_kept_ns >= NS_PER_US else None,
    )


def encode_statement(statement: LeaseStatement) -> fleet_service_pb2.LeaseStatement:
    """A statement as it goes out."""
    pot = statement.limit_pot
    return fleet_service_pb2.LeaseStatement(
        lease_id=statement.lease_id,
        inference_service=statement.service if pot is None else "",
        inference_service_uid=statement.service_uid,
        pot_kind=KINDS[statement.kind],
        consumed_units=statement.consumed_units,
        returned_units=statement.returned_units,
        held_units=statement.held_units,
        wanted_units=statement.wanted_units,
        needed_units=statement.needed_units,
        closing=statement.closing,
        refunded_units=statement.refunded_units,
        limit_pot=encode_limit_pot(statement.service, pot) if pot is not None else None,
        burn_units=statement.burn_units,
    )


def encode_refused(calls: RefusedCalls) -> fleet_service_pb2.RefusedCalls:
    """A count of refused calls as it goes out."""
    return fleet_service_pb2.RefusedCalls(
        minute=encode_timestamp(calls.minute_us),
        principal=calls.principal,
        peer=calls.peer,
        method=calls.method,
        reason=calls.reason,
        resource=calls.resource,
        call_count=calls.call_count,
    )


def decode_answer(message: fleet_service_pb2.LeaseAnswer) -> LeaseAnswer:
    """The answer to one statement; an availability that this program does not know is not "empty"."""
    return LeaseAnswer(
        lease_id=message.lease_id,
        granted_units=message.granted_units,
        empty=message.availability == fleet_service_pb2.POT_AVAILABILITY_EMPTY,
        recalling=message.availability == fleet_service_pb2.POT_AVAILABILITY_RECALLING,
        available_units=message.available_units,
        leased_elsewhere_units=message.leased_elsewhere_units,
        accrues_after_ms=decode_ns(message.accrues_after) // NS_PER_MS if message.HasField("accrues_after") else None,
        closed=message.closed,
    )


@lru_cache(maxsize=SHARED_MAX)
def _shared_reasons(*reasons: int) -> frozenset[StopReason]:
    return frozenset(_STOP_REASONS[reason] for reason in reasons if reason in _STOP_REASONS)


@lru_cache(maxsize=SHARED_MAX)
def _shared_price(version: int, *kinds: int) -> Price:
    return Price(version, *kinds)


def _decode_price(message: config_pb2.ServiceConfig) -> Price:
    if not message.HasField("price"):
        return NO_PRICE
    price = message.price
    return _shared_price(
        price.version,
        price.input_nanos_per_million_tokens,
        price.cached_input_nanos_per_million_tokens,
        price.cache_write_nanos_per_million_tokens,
        price.output_nanos_per_million_tokens,
        price.reasoning_nanos_per_million_tokens,
    )
