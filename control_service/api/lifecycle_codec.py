"""Requests of LifecycleService, and its responses to changes."""

from control_service.api.fields import Fields
from control_service.api.service_codec import encode_reservation, encode_service
from control_service.domain.account import Account
from control_service.domain.input_bounds import OUTAGE_TOKENS_MAX, RATE_TOKENS_MAX, TERM_DAYS_MAX
from control_service.domain.reservation import OverflowPolicy, ReservationTerms
from control_service.domain.service import CredentialPolicy, OutagePolicy
from control_service.domain.service_action import OfferedService
from control_service.domain.status import Status
from control_service.usecases.people.lifecycle import InitialBilling, PurchaseView
from control_service.usecases.people.reservations import Quote
from control_service.usecases.people.services import NewService, ServiceUpdate
from control_service.usecases.ports import ServiceFilter
from tallygate._access.permission import Permission
from tallygate._server.grpc.caller import current_caller
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import inference_service_pb2, reservation_pb2
from tallygate.control.v1 import lifecycle_service_pb2 as pb


def decode_create(request: pb.CreateInferenceServiceRequest) -> tuple[str, NewService, InitialBilling]:
    """The account's id, the service to create, and its first billing settings. Raises InvalidRequestError."""
    billing = request.billing
    with Fields() as fields:
        account_id, service_id = fields.custom_service("name", request.name)
        policy = decode_outage_policy(fields, request.outage_policy, request.outage_tokens_max)
        new = NewService(
            service_id=service_id,
            model_id=fields.model("model", request.model),
            display_name=fields.text("display_name", request.display_name),
            team=fields.team_id("team", request.team),
            labels=fields.labels("labels", request.labels),
            outage_policy=policy or OutagePolicy.DENY,
            outage_tokens_max=request.outage_tokens_max,
            credential_policy=_decode_credential_policy(fields, request.credential_policy),
            shared=request.shared,
            exempt_from_model_rules=request.exempt_from_model_rules,
        )
        buys = billing.HasField("reservation")
        return (
            account_id,
            new,
            InitialBilling(
                claim_free_trial=billing.claim_free_trial,
                enable_postpaid=billing.enable_postpaid,
                reservation=decode_terms(fields, "billing.reservation", billing.reservation) if buys else None,
            ),
        )


def decode_update(request: pb.UpdateInferenceServiceRequest) -> tuple[tuple[str, str], ServiceUpdate]:
    """The ids of account and service, and the service's new settings. Raises InvalidRequestError."""
    with Fields() as fields:
        display_name, team = fields.text("display_name", request.display_name), fields.team_id("team", request.team)
        labels = fields.labels("labels.labels", request.labels.labels)
        policy = decode_outage_policy(fields, request.outage_policy, request.outage_tokens_max)
        exempt = request.exempt_from_model_rules
        return fields.service("name", request.name), ServiceUpdate(
            display_name=display_name if request.HasField("display_name") else None,
            team=team if request.HasField("team") else None,
            labels=labels if request.HasField("labels") else None,
            outage_policy=policy,
            outage_tokens_max=request.outage_tokens_max,
            credential_policy=_decode_credential_policy(fields, request.credential_policy),
            shared=request.shared if request.HasField("shared") else None,
            exempt_from_model_rules=exempt if request.HasField("exempt_from_model_rules") else None,
        )


def decode_list(fields: Fields, request: pb.ListInferenceServicesRequest) -> tuple[ServiceFilter, Status | None]:
    """The filter of the list, narrowed to what the caller sees, and the status; notes violations in `fields`."""
    wanted = ServiceFilter(
        account_id=fields.account("account", request.account) if request.account else None,
        model_id=fields.model("model", request.model) if request.model else None,
        team=fields.team_id("team", request.team) or None,
        show_deleted=request.show_deleted,
        sight=current_caller().rights.sight(Permission.SERVICES_READ),
    )
    return wanted, fields.member("status", inference_service_pb2.ServiceStatus, request.status, Status)


def decode_terms(fields: Fields, path: str, terms: pb.ReservationTerms) -> ReservationTerms:
    """The terms of a purchase; notes violations in `fields`."""
    rates = {
        name: fields.number(f"{path}.{name}", getattr(terms, name), 0, RATE_TOKENS_MAX)
        for name in ("input_tokens_per_minute", "output_tokens_per_minute")
    }
    if not any(rates.values()):
        fields.refuse(f"{path}.input_tokens_per_minute", "must not be zero together with output_tokens_per_minute")
    policy = fields.member(
        f"{path}.overflow_policy", reservation_pb2.OverflowPolicy, terms.overflow_policy, OverflowPolicy
    )
    return ReservationTerms(
        term_day_count=fields.number(f"{path}.term_day_count", terms.term_day_count, 1, TERM_DAYS_MAX),
        overflow_policy=policy or OverflowPolicy.BILL_BY_TOKEN,
        **rates,
    )


def decode_outage_policy(fields: Fields, number: int, tokens_max: int) -> OutagePolicy | None:
    """The policy, None where it is unspecified; notes violations of the policy and of its bound in `fields`."""
    policy = fields.member("outage_policy", inference_service_pb2.OutagePolicy, number, OutagePolicy)
    if policy is OutagePolicy.CONTINUE:
        fields.number("outage_tokens_max", tokens_max, 1, OUTAGE_TOKENS_MAX)
    elif tokens_max:
        fields.refuse("outage_tokens_max", "must not be given without the outage policy CONTINUE")
    return policy


def _decode_credential_policy(fields: Fields, number: int) -> CredentialPolicy | None:
    return fields.member("credential_policy", inference_service_pb2.CredentialPolicy, number, CredentialPolicy)


def encode_quote(quote: Quote, account: Account) -> pb.QuoteReservationResponse:
    """The response to QuoteReservation."""
    return pb.QuoteReservationResponse(
        price_nanos=quote.price_nanos,
        currency_code=account.currency_code,
        end_time=encode_timestamp(quote.end_us),
        enables_postpaid=quote.enables_postpaid,
        shortfall_nanos=quote.shortfall_nanos,
    )


def encode_purchased(bought: PurchaseView, offered: OfferedService) -> pb.PurchaseReservationResponse:
    """The response to PurchaseReservation."""
    return pb.PurchaseReservationResponse(
        reservation=encode_reservation(bought.reservation, bought.service.service.update_us or 0),
        inference_service=encode_service(offered),
        postpaid_enabled=bought.postpaid_enabled,
    )
