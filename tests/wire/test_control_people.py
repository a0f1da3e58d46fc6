"""AccountService, CatalogService and LifecycleService over the wire: statuses, details, repeats, pages."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from control_service.domain.errors import Reason
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import error_reason_pb2, inference_service_pb2, model_pb2, service_event_pb2
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import running_control

SERVICE = "accounts/acme/services/default-llama"
UNSPECIFIED = inference_service_pb2.OUTAGE_POLICY_UNSPECIFIED
DENY = inference_service_pb2.OUTAGE_POLICY_DENY
CONTINUE = inference_service_pb2.OUTAGE_POLICY_CONTINUE


async def test_a_repeat_is_answered_byte_for_byte(tmp_path: Path) -> None:
    """The same key gets the same bytes, done once; other arguments under it are ALREADY_EXISTS."""
    async with running_control(tmp_path) as control:
        await control.stock(1_000)
        request = accounts.TopUpAccountRequest(name="accounts/acme", amount_nanos=5, idempotency_key="k")
        first = await control.accounts.TopUpAccount(request)
        await control.top_up(100)
        again = await control.accounts.TopUpAccount(request)
        assert again.SerializeToString() == first.SerializeToString()
        assert again.account.balance_nanos == 1_005
        request.amount_nanos = 6
        failed = await failure(control.accounts.TopUpAccount(request))
        assert (failed.code, failed.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")
        got = await control.accounts.GetAccount(accounts.GetAccountRequest(name="accounts/acme"))
        assert got.account.balance_nanos == 1_105


async def test_every_bad_field_is_named(tmp_path: Path) -> None:
    """INVALID_ARGUMENT has a violation for each field that is wrong, nested ones by their path."""
    async with running_control(tmp_path) as control:
        request = accounts.CreateAccountRequest(
            name="acme",
            currency_code="usd",
            display_name="x" * 257,
            credit_limit_nanos=-1,
            overdue_floor_nanos=10**18 + 1,
        )
        failed = await failure(control.accounts.CreateAccount(request))
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert set(failed.fields) == {
            "name",
            "currency_code",
            "display_name",
            "credit_limit_nanos",
            "overdue_floor_nanos",
        }
        bad_terms = lifecycle.CreateInferenceServiceRequest(
            name="accounts/acme/services/default-llama",
            model="llama",
            labels={"": "x"},
            billing=lifecycle.InitialBilling(reservation=lifecycle.ReservationTerms(term_day_count=4_000)),
        )
        failed = await failure(control.lifecycle.CreateInferenceService(bad_terms))
        assert failed.fields == [
            "name",
            "model",
            "labels.key",
            "billing.reservation.input_tokens_per_minute",
            "billing.reservation.term_day_count",
        ]
        bad_price = catalogue.PublishPriceRequest(model="models/llama", output_nanos_per_million_tokens=-1)
        failed = await failure(control.catalogue.PublishPrice(bad_price))
        assert set(failed.fields) == {"input_nanos_per_million_tokens", "output_nanos_per_million_tokens"}


async def test_unknown_names_are_not_found(tmp_path: Path) -> None:
    """NOT_FOUND says which resource is not there."""
    async with running_control(tmp_path) as control:
        await control.stock()
        calls: dict[str, Any] = {
            "accounts/nobody": control.accounts.GetAccount(accounts.GetAccountRequest(name="accounts/nobody")),
            "models/none": control.catalogue.GetModel(catalogue.GetModelRequest(name="models/none")),
            "accounts/acme/services/none": control.lifecycle.EnablePostpaid(
                lifecycle.EnablePostpaidRequest(name="accounts/acme/services/none")
            ),
            "accounts/acme/services/default-none": control.lifecycle.GetInferenceService(
                lifecycle.GetInferenceServiceRequest(name="accounts/acme/services/default-none")
            ),
        }
        for resource, call in calls.items():
            failed = await failure(call)
            assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
            assert failed.metadata == {"resource": resource}


async def test_an_illegal_transition_says_what_to_do(tmp_path: Path) -> None:
    """FAILED_PRECONDITION has the reason in ErrorInfo and in PreconditionFailure, and a sentence."""
    async with running_control(tmp_path) as control:
        await control.stock()
        failed = await failure(control.disable_postpaid(SERVICE))
        assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "POSTPAID_NEVER_ENABLED")
        assert failed.preconditions == ["POSTPAID_NEVER_ENABLED"]
        await control.claim_trial(SERVICE)
        failed = await failure(control.claim_trial(SERVICE))
        assert (failed.reason, failed.metadata) == ("TRIAL_ALREADY_CLAIMED", {"service": SERVICE})
        poor = lifecycle.PurchaseReservationRequest(
            inference_service=SERVICE, terms=lifecycle.ReservationTerms(input_tokens_per_minute=1, term_day_count=1)
        )
        assert (await failure(control.lifecycle.PurchaseReservation(poor))).reason == "CUSTOM_SERVICE_REQUIRED"


async def test_an_event_names_its_actor(tmp_path: Path) -> None:
    """The actor is the caller's word for itself in the call's metadata, `user` where it says nothing."""
    async with running_control(tmp_path) as control:
        await control.stock()
        await control.claim_trial(SERVICE)
        suspend = lifecycle.SuspendInferenceServiceRequest(name=SERVICE)
        await control.lifecycle.SuspendInferenceService(suspend, metadata=(("tallygate-actor", "ops@example"),))
        listed = await control.lifecycle.ListServiceEvents(
            lifecycle.ListServiceEventsRequest(inference_service=SERVICE)
        )
        claimed, suspended = listed.service_events
        assert (claimed.actor, suspended.actor) == ("user", "ops@example")
        assert suspended.name == f"{SERVICE}/events/2"
        assert suspended.cause == service_event_pb2.EVENT_CAUSE_SUSPENDED
        assert list(suspended.new_stop_reasons) == [inference_service_pb2.STOP_REASON_SUSPENDED]


async def test_pages_are_followed_by_opaque_tokens(tmp_path: Path) -> None:
    """Tokens lead from page to page of one list, and are refused by any other."""
    async with running_control(tmp_path) as control:
        await control.stock()
        for model in ("a", "b", "c"):
            await control.catalogue.CreateModel(catalogue.CreateModelRequest(name=f"models/{model}"))
        request = lifecycle.ListInferenceServicesRequest(account="accounts/acme", page_size=2)
        first = await control.lifecycle.ListInferenceServices(request)
        request.page_token = first.next_page_token
        second = await control.lifecycle.ListInferenceServices(request)
        names = [service.name for page in (first, second) for service in page.inference_services]
        assert names == [f"accounts/acme/services/default-{model}" for model in ("a", "b", "c", "llama")]
        assert second.next_page_token == ""
        request.team = "blue"
        assert (await failure(control.lifecycle.ListInferenceServices(request))).fields == ["page_token"]
        request.page_token = "nonsense"
        assert (await failure(control.lifecycle.ListInferenceServices(request))).fields == ["page_token"]


async def test_a_model_shows_its_price_in_force(tmp_path: Path) -> None:
    """Left-out prices are as input or output; a version to come is listed, not shown as current."""
    async with running_control(tmp_path) as control:
        await control.stock()
        later = catalogue.PublishPriceRequest(
            model="models/llama",
            effective_time=Timestamp(seconds=4_000_000_000),
            input_nanos_per_million_tokens=0,
            output_nanos_per_million_tokens=7,
            cache_write_nanos_per_million_tokens=2,
        )
        published = (await control.catalogue.PublishPrice(later)).price
        assert (published.version, published.name) == (2, "models/llama/prices/2")
        assert (published.cached_input_nanos_per_million_tokens, published.reasoning_nanos_per_million_tokens) == (0, 7)
        model = (await control.catalogue.GetModel(catalogue.GetModelRequest(name="models/llama"))).model
        assert model.current_price.version == 1
        prices = (await control.catalogue.ListPrices(catalogue.ListPricesRequest(model="models/llama"))).prices
        assert [price.version for price in prices] == [2, 1]
        early = catalogue.PublishPriceRequest(effective_time=Timestamp(seconds=1))
        early.MergeFrom(catalogue.PublishPriceRequest(model="models/llama", input_nanos_per_million_tokens=1))
        early.output_nanos_per_million_tokens = 1
        assert (await failure(control.catalogue.PublishPrice(early))).fields == ["effective_time"]
        gone = (await control.catalogue.WithdrawPrice(catalogue.WithdrawPriceRequest(name=published.name))).price
        assert (gone.name, gone.HasField("withdraw_time")) == (published.name, True)
        failed = await failure(control.catalogue.WithdrawPrice(catalogue.WithdrawPriceRequest(name=prices[1].name)))
        assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRICE_IN_EFFECT")


async def test_withdrawing_and_leaving_out_differ(tmp_path: Path) -> None:
    """A trial offer with a quota of zero ends the offer; an update without one leaves it."""
    async with running_control(tmp_path) as control:
        await control.stock()
        untouched = catalogue.UpdateModelRequest(name="models/llama", display_name="Llama")
        assert (await control.catalogue.UpdateModel(untouched)).model.trial_offer.quota_tokens == 1_000
        withdrawn = catalogue.UpdateModelRequest(name="models/llama", trial_offer=model_pb2.TrialOffer())
        assert not (await control.catalogue.UpdateModel(withdrawn)).model.HasField("trial_offer")
        labels = lifecycle.UpdateInferenceServiceRequest(name=SERVICE, labels=lifecycle.LabelMap(labels={"a": "b"}))
        await control.lifecycle.UpdateInferenceService(labels)
        kept = await control.lifecycle.UpdateInferenceService(
            lifecycle.UpdateInferenceServiceRequest(name=SERVICE, display_name="Chat")
        )
        assert dict(kept.inference_service.labels) == {"a": "b"}
        cleared = await control.lifecycle.UpdateInferenceService(
            lifecycle.UpdateInferenceServiceRequest(name=SERVICE, labels=lifecycle.LabelMap())
        )
        assert dict(cleared.inference_service.labels) == {}


@pytest.mark.parametrize(
    ("policy", "tokens_max", "wrong"),
    [
        (CONTINUE, 1, []),
        (CONTINUE, 10**9, []),
        (CONTINUE, 0, ["outage_tokens_max"]),
        (CONTINUE, 10**9 + 1, ["outage_tokens_max"]),
        (CONTINUE, -1, ["outage_tokens_max"]),
        (DENY, 0, []),
        (DENY, 1, ["outage_tokens_max"]),
        (UNSPECIFIED, 0, []),
        (UNSPECIFIED, 1, ["outage_tokens_max"]),
        (3, 0, ["outage_policy"]),
    ],
)
async def test_an_outage_policy_comes_with_its_bound(
    tmp_path: Path, policy: Any, tokens_max: int, wrong: list[str]
) -> None:
    """CONTINUE needs one, nothing else may have one; when a service is created, and when it is changed."""
    async with running_control(tmp_path) as control:
        await control.stock()
        name = "accounts/acme/services/chat"
        said = {"outage_policy": policy, "outage_tokens_max": tokens_max}
        create = lifecycle.CreateInferenceServiceRequest(name=name, model="models/llama", **said)
        update = lifecycle.UpdateInferenceServiceRequest(name=SERVICE, **said)
        if wrong:
            assert (await failure(control.lifecycle.CreateInferenceService(create))).fields == wrong
            assert (await failure(control.lifecycle.UpdateInferenceService(update))).fields == wrong
            return
        created = (await control.lifecycle.CreateInferenceService(create)).inference_service
        updated = (await control.lifecycle.UpdateInferenceService(update)).inference_service
        for service in (created, updated):
            assert (service.outage_policy, service.outage_tokens_max) == (policy or DENY, tokens_max)


def test_reasons_are_those_of_the_contract() -> None:
    """Every reason that the service may give is documented, and the other way round."""
    documented = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}
    assert {reason.value for reason in Reason} == documented - {"UNSPECIFIED"}
