"""The fleet's messages on the wire."""

import re
from collections.abc import Sequence
from typing import Final

from control_service.api.api_key_codec import encode_api_key, encode_model
from control_service.api.audit_codec import decode_refused
from control_service.api.catalog_codec import encode_price
from control_service.api.credential_codec import encode_credential
from control_service.api.fields import INT64_MAX, Fields
from control_service.api.limit_config_codec import encode_account_limits, encode_model_limits
from control_service.api.limit_pot_codec import decode_limit_pot, encode_limit_pot
from control_service.domain.backup_detection import Mark
from control_service.domain.errors import InvalidRequestError
from control_service.domain.lease import Statement
from control_service.domain.limit import LimitPotKey
from control_service.domain.names import model_name
from control_service.domain.node import LEASE_VALIDITY_US, LEASES_KEPT_US_MAX
from control_service.domain.payers import ServiceConfig
from control_service.domain.pot import PotKind
from control_service.domain.status import StopReason
from control_service.usecases.fleet.exchange_messages import ExchangeRequest, LeaseAnswer
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet.watcher import Update
from tallygate._wire.enums import encode_enum, encode_enums
from tallygate._wire.names import NODE_ID
from tallygate._wire.times import encode_duration
from tallygate.control.v1 import config_pb2, inference_service_pb2, pot_pb2, recovery_service_pb2
from tallygate.control.v1 import fleet_service_pb2 as pb

SUBSCRIBE_MAX: Final = 1_000
NAME_BYTES_MAX: Final = 256
STATEMENTS_MAX: Final = 10_000
_NODE: Final = re.compile(NODE_ID)
_ID_LENGTH_MAX: Final = 128

NodeEpoch = (
    pb.NodeHello
    | pb.NodeMark
    | pb.ExchangeLeasesRequest
    | recovery_service_pb2.LeaseTotal
    | recovery_service_pb2.FencedNode
)
"""Messages that name a node and its epoch."""

NamesLease = pb.LeaseStatement | recovery_service_pb2.LeaseTotal
"""Messages that name a lease."""


def decode_hello(message: pb.WatchConfigRequest) -> pb.NodeHello:
    """The hello that every stream begins with. Raises InvalidRequestError."""
    with Fields() as fields:
        if message.WhichOneof("message") != "hello":
            fields.refuse("hello", "must come first on every stream")
        check_node(fields, "hello.", message.hello)
        for index, mark in enumerate(message.hello.history):
            # The metering database has no epoch of another node without an answered exchange.
            check_node(fields, f"hello.history[{index}].", mark, epoch_min=0)
        if message.hello.caretaker and _NODE.fullmatch(message.hello.caretaker) is None:
            fields.refuse("hello.caretaker", f"must be {_NODE.pattern}")
        fields.required_text("hello.metering_database_id", message.hello.metering_database_id, _ID_LENGTH_MAX)
    return message.hello


def decode_leases_kept_us(hello: pb.NodeHello) -> int | None:
    """How long the epoch leaves the leases of those before it open at the least; None where that is not said."""
    if not hello.HasField("leases_kept_for"):
        return None
    with Fields() as fields:
        return fields.duration_us("hello.leases_kept_for", hello.leases_kept_for, LEASES_KEPT_US_MAX)


def decode_history(hello: pb.NodeHello) -> list[Mark]:
    """The watermarks in the node's metering database."""
    return [Mark(mark.node, mark.epoch, mark.commit_no, mark.exchange_number) for mark in hello.history]


def decode_subscription(message: pb.ConfigSubscription) -> tuple[Sequence[str], Sequence[str]]:
    """Names to follow, and names to follow no longer. Raises InvalidRequestError."""
    if len(message.subscribe) > SUBSCRIBE_MAX:
        raise InvalidRequestError([("subscription.subscribe", f"must not be more than {SUBSCRIBE_MAX} names")])
    if any(len(name.encode()) > NAME_BYTES_MAX for name in message.subscribe):
        problem = f"has a name longer than {NAME_BYTES_MAX} bytes, as no service's is"
        raise InvalidRequestError([("subscription.subscribe", problem)])
    return message.subscribe, message.unsubscribe


def decode_exchange(request: pb.ExchangeLeasesRequest) -> ExchangeRequest:
    """The exchange that a node requests. Raises InvalidRequestError."""
    lease_ids: set[str] = set()
    with Fields() as fields:
        if len(request.statements) > STATEMENTS_MAX:
            fields.refuse("statements", f"must not be more than {STATEMENTS_MAX:,}: exchange some at a time")
        check_node(fields, "", request)
        number = fields.number("exchange_number", request.exchange_number, 1, INT64_MAX)
        answered = fields.number("answered_exchange_number", request.answered_exchange_number, 0, INT64_MAX)
        commit_no = fields.number("commit_no", request.commit_no, 0, INT64_MAX)
        below = fields.number("settled_below_epoch", request.settled_below_epoch, 0, max(1, request.epoch))
        statements = [
            _decode_statement(fields, f"statements[{index}].", request, message)
            for index, message in enumerate(request.statements[:STATEMENTS_MAX])
        ]
        for index, one in enumerate(statements):
            if one.statement.lease_id in lease_ids:
                fields.refuse(f"statements[{index}].lease_id", "must not be that of another statement")
            lease_ids.add(one.statement.lease_id)
        refused = decode_refused(fields, request.refused_calls)
    return ExchangeRequest(
        node=request.node,
        epoch=request.epoch,
        exchange_number=number,
        acknowledged_version=request.acknowledged_version,
        statements=statements,
        settled_below_epoch=below,
        answered_number=answered,
        commit_no=commit_no,
        refused=refused,
    )


def check_node(fields: Fields, path: str, message: NodeEpoch, *, epoch_min: int = 1) -> None:
    """Notes in `fields` what is wrong with a message's `node` and `epoch`; `path` is what their names begin with."""
    if _NODE.fullmatch(message.node) is None:
        fields.refuse(f"{path}node", f"must be {_NODE.pattern}")
    fields.number(f"{path}epoch", message.epoch, epoch_min, INT64_MAX)


def decode_lease(fields: Fields, path: str, message: NamesLease) -> tuple[PotKind, LimitPotKey | None]:
    """The kind of pot of a lease, and which pot of a limit it is a slice of; None of a payer.

    Notes in `fields` what is missing of the names of lease, service and pot.
    """
    fields.required_text(f"{path}lease_id", message.lease_id, _ID_LENGTH_MAX)
    kind = fields.member(f"{path}pot_kind", pot_pb2.PotKind, message.pot_kind, PotKind)
    if message.pot_kind == pot_pb2.POT_KIND_UNSPECIFIED:
        fields.refuse(f"{path}pot_kind", "must be said")
    kind = kind or PotKind.MONEY
    if kind.is_limit:
        return kind, _decode_limit_pot(fields, path, message)
    if message.HasField("limit_pot"):
        fields.refuse(f"{path}limit_pot", "must be left out, since the pot is a payer")
    if not message.inference_service:
        fields.refuse(f"{path}inference_service", "must not be empty")
    fields.required_text(f"{path}inference_service_uid", message.inference_service_uid, _ID_LENGTH_MAX)
    return kind, None


def _decode_limit_pot(fields: Fields, path: str, message: NamesLease) -> LimitPotKey | None:
    for name in ("inference_service", "inference_service_uid"):
        if getattr(message, name):
            fields.refuse(f"{path}{name}", "must be empty, since all services of the account share the pot")
    if not message.HasField("limit_pot"):
        fields.refuse(f"{path}limit_pot", "must be said")
        return None
    return decode_limit_pot(fields, f"{path}limit_pot.", message.limit_pot)


def _decode_statement(
    fields: Fields, path: str, request: pb.ExchangeLeasesRequest, message: pb.LeaseStatement
) -> LeaseStatement:
    def units(name: str, value: int) -> int:
        return fields.number(f"{path}{name}", value, 0, INT64_MAX)

    kind, limit = decode_lease(fields, path, message)
    return LeaseStatement(
        node=request.node,
        epoch=request.epoch,
        service_name=message.inference_service,
        service_uid=message.inference_service_uid,
        kind=kind,
        limit=limit,
        statement=Statement(
            lease_id=message.lease_id,
            consumed_units=units("consumed_units", message.consumed_units),
            returned_units=units("returned_units", message.returned_units),
            held_units=units("held_units", message.held_units),
            wanted_units=units("wanted_units", message.wanted_units),
            needed_units=units("needed_units", message.needed_units),
            closing=message.closing,
            refunded_units=units("refunded_units", message.refunded_units),
            burn_units=units("burn_units", message.burn_units),
        ),
    )


def encode_answers(answers: Sequence[LeaseAnswer]) -> pb.ExchangeLeasesResponse:
    """The answers to statements, and the time for which the node's leases hold now."""
    return pb.ExchangeLeasesResponse(
        valid_for=encode_duration(LEASE_VALIDITY_US), answers=[_encode_answer(answer) for answer in answers]
    )


def _encode_answer(answer: LeaseAnswer) -> pb.LeaseAnswer:
    return pb.LeaseAnswer(
        lease_id=answer.lease_id,
        granted_units=answer.granted_units,
        availability=encode_enum(pb.PotAvailability, answer.availability),
        available_units=answer.available_units,
        leased_elsewhere_units=answer.leased_elsewhere_units,
        accrues_after=encode_duration(answer.accrues_after_us),
        closed=answer.closed,
    )


def encode_update(update: Update, closed_below_epoch: int, now_us: int) -> pb.WatchConfigResponse:
    """One message to a node, at this moment; all leases of its epochs below `closed_below_epoch` are closed."""
    return pb.WatchConfigResponse(
        version=update.version,
        services=[_encode_config(config) for config in update.services],
        recalled_lease_ids=update.recalled_lease_ids,
        replenished_service_uids=update.replenished_service_uids,
        lost_nodes=[pb.LostNode(node=lost.name, epoch=lost.epoch) for lost in update.lost_nodes],
        leases_closed_below_epoch=closed_below_epoch,
        credentials=[encode_credential(config, now_us) for config in update.credentials],
        account_limits=[encode_account_limits(one, now_us) for one in update.limits if one.subject.account_id],
        model_limits=[encode_model_limits(one, now_us) for one in update.limits if one.subject.model_id],
        replenished_limit_pots=[encode_limit_pot(key) for key in update.replenished_limit_pots],
        api_keys=[encode_api_key(config, now_us) for config in update.api_keys],
        models=[encode_model(config) for config in update.models],
    )


def _encode_config(config: ServiceConfig) -> config_pb2.ServiceConfig:
    resolution = encode_enum(config_pb2.Resolution, config.resolution)
    if config.terms is None:
        return config_pb2.ServiceConfig(name=config.name, resolution=resolution)
    terms, payers = config.terms, config.terms.payers
    return config_pb2.ServiceConfig(
        name=config.name,
        resolution=resolution,
        version=config.version,
        uid=terms.uid,
        model=model_name(terms.model_id),
        status=encode_enum(inference_service_pb2.ServiceStatus, terms.status),
        stop_reasons=encode_enums(inference_service_pb2.StopReason, StopReason, terms.stop_reasons),
        reservation_pays=payers.reservation,
        trial_pays=payers.trial,
        postpaid_pays=payers.postpaid,
        debt_allowed=payers.debt_allowed,
        price=None if terms.price is None else encode_price(terms.price),
        smallest_request_tokens=terms.smallest_request_tokens,
        output_tokens_max=terms.output_tokens_max,
        whole_output_tokens_default=terms.whole_output_tokens_default,
        outage_policy=encode_enum(inference_service_pb2.OutagePolicy, terms.outage_policy),
        outage_tokens_max=terms.outage_tokens_max,
        team=terms.team,
        credential_policy=encode_enum(inference_service_pb2.CredentialPolicy, terms.credential_policy),
        shared=terms.shared,
        exempt_from_model_rules=terms.exempt_from_model_rules,
        reserved_input_tokens_per_minute=payers.reserved.input_tokens_per_minute,
        reserved_output_tokens_per_minute=payers.reserved.output_tokens_per_minute,
    )
