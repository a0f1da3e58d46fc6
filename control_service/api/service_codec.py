"""Services, reservations and events on the wire."""

from control_service.api.service_actions import actions_of_caller
from control_service.domain.event import ServiceEvent
from control_service.domain.names import event_name, model_name, reservation_name
from control_service.domain.reservation import Reservation
from control_service.domain.service_action import OfferedService, ServiceAction
from control_service.domain.status import BillingMode, StopReason
from control_service.domain.trial import Trial
from tallygate._wire.enums import encode_enum, encode_enums
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import inference_service_pb2 as pb
from tallygate.control.v1 import reservation_pb2, service_event_pb2


def encode_service(offered: OfferedService) -> pb.InferenceService:
    """A service with its derived status, its reserved rates, and what the caller may do about it."""
    view = offered.view
    service, derived = view.service, view.derived
    usable = BillingMode.FREE_TRIAL in derived.billing_modes
    return pb.InferenceService(
        name=service.name,
        uid=service.uid,
        model=model_name(service.model_id),
        kind=encode_enum(pb.ServiceKind, service.kind),
        display_name=service.display_name,
        team=service.team,
        labels=service.labels,
        status=encode_enum(pb.ServiceStatus, derived.status),
        stop_reasons=encode_enums(pb.StopReason, StopReason, derived.stop_reasons),
        billing_modes=encode_enums(pb.BillingMode, BillingMode, derived.billing_modes),
        free_trial=None if service.trial is None else _encode_trial(service.trial, usable=usable),
        postpaid=encode_enum(pb.PostpaidState, service.postpaid),
        reserved_input_tokens_per_minute=view.reserved.input_tokens_per_minute,
        reserved_output_tokens_per_minute=view.reserved.output_tokens_per_minute,
        outage_policy=encode_enum(pb.OutagePolicy, service.outage_policy),
        outage_tokens_max=service.outage_tokens_max,
        credential_policy=encode_enum(pb.CredentialPolicy, service.credential_policy),
        shared=service.shared,
        exempt_from_model_rules=service.exempt_from_model_rules,
        config_version=service.config_version,
        create_time=encode_timestamp(service.create_us),
        update_time=encode_timestamp(service.update_us),
        delete_time=encode_timestamp(service.delete_us),
        actions=encode_enums(pb.ServiceAction, ServiceAction, actions_of_caller(offered)),
        remedies=[
            pb.Remedy(
                stop_reason=encode_enum(pb.StopReason, reason) if reason else pb.STOP_REASON_UNSPECIFIED,
                actions=[encode_enum(pb.ServiceAction, action) for action in actions],
            )
            for reason, actions in offered.remedies.items()
        ],
    )


def encode_reservation(reservation: Reservation, now_us: int) -> reservation_pb2.Reservation:
    """A reservation as of now."""
    return reservation_pb2.Reservation(
        name=reservation_name(reservation.account_id, reservation.service_id, reservation.reservation_number),
        input_tokens_per_minute=reservation.input_tokens_per_minute,
        output_tokens_per_minute=reservation.output_tokens_per_minute,
        start_time=encode_timestamp(reservation.start_us),
        end_time=encode_timestamp(reservation.end_us),
        overflow_policy=encode_enum(reservation_pb2.OverflowPolicy, reservation.overflow_policy),
        paid_nanos=reservation.paid_nanos,
        state=encode_enum(reservation_pb2.ReservationState, reservation.state(now_us)),
    )


def encode_event(event: ServiceEvent) -> service_event_pb2.ServiceEvent:
    """A change of a service's status or stop reasons."""
    return service_event_pb2.ServiceEvent(
        name=event_name(event.account_id, event.service_id, event.event_number),
        event_time=encode_timestamp(event.origin.at_us),
        cause=encode_enum(service_event_pb2.EventCause, event.origin.cause),
        actor=event.origin.actor.name,
        actor_note=event.origin.actor.note,
        old_status=encode_enum(pb.ServiceStatus, event.old_status),
        new_status=encode_enum(pb.ServiceStatus, event.new_status),
        old_stop_reasons=encode_enums(pb.StopReason, StopReason, event.old_stop_reasons),
        new_stop_reasons=encode_enums(pb.StopReason, StopReason, event.new_stop_reasons),
    )


def _encode_trial(trial: Trial, *, usable: bool) -> pb.FreeTrial:
    return pb.FreeTrial(
        quota_tokens=trial.quota_tokens,
        spent_tokens=trial.spent_tokens,
        remaining_tokens=trial.remaining_tokens,
        leased_tokens=trial.leased_tokens,
        available_tokens=trial.remaining_tokens - trial.leased_tokens,
        usable=usable,
        claim_time=encode_timestamp(trial.claim_us),
        expire_time=encode_timestamp(trial.expire_us),
    )
