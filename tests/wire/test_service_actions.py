"""Actions of a service are those that its caller may do, and pages of offers have what the caller sees."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tallygate._access.role import Role
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import inference_service_pb2 as services
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tests.harness.wire.access_stage import ACME, CHAT, SEARCH, SERVICES, AccessStage, access_stage, bearer

TOO_LONG = "k" * 1_000
"""A key that no call takes: whoever is let in is told so, and nothing is changed."""
NAMES = [
    "accounts/acme/services/default-llama",
    *(f"accounts/acme/services/{SERVICES[place]}" for place in (ACME, SEARCH, CHAT)),
]
CALLS: dict[str, tuple[str, Any]] = {
    "CLAIM_FREE_TRIAL": ("LifecycleService/ClaimFreeTrial", lifecycle.ClaimFreeTrialRequest),
    "ENABLE_POSTPAID": ("LifecycleService/EnablePostpaid", lifecycle.EnablePostpaidRequest),
    "DISABLE_POSTPAID": ("LifecycleService/DisablePostpaid", lifecycle.DisablePostpaidRequest),
    "PURCHASE_RESERVATION": ("LifecycleService/PurchaseReservation", lifecycle.PurchaseReservationRequest),
    "SUSPEND": ("LifecycleService/SuspendInferenceService", lifecycle.SuspendInferenceServiceRequest),
    "UPDATE": ("LifecycleService/UpdateInferenceService", lifecycle.UpdateInferenceServiceRequest),
    "DELETE": ("LifecycleService/DeleteInferenceService", lifecycle.DeleteInferenceServiceRequest),
    "TOP_UP_ACCOUNT": ("AccountService/TopUpAccount", accounts.TopUpAccountRequest),
    "PUBLISH_PRICE": ("CatalogService/PublishPrice", catalogue.PublishPriceRequest),
}
SEERS = (Role.OWNER, Role.BILLING, Role.VIEWER, Role.TEAM_ADMIN, Role.TEAM_MEMBER, Role.AUDITOR, Role.OPERATOR)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AccessStage]:
    async with access_stage(tmp_path_factory.mktemp("actions")) as stage:
        yield stage


def text_of(action: services.ServiceAction.ValueType) -> str:
    return services.ServiceAction.Name(action).removeprefix("SERVICE_ACTION_")


async def allowed(stage: AccessStage, role: Role, name: str, action: str) -> bool:
    path, message = CALLS[action]
    request = message(idempotency_key=TOO_LONG)
    subject = "inference_service" if action == "PURCHASE_RESERVATION" else "name"
    if action == "PUBLISH_PRICE":
        request.model = "models/llama"
    else:
        setattr(request, subject, "accounts/acme" if action == "TOP_UP_ACCOUNT" else name)
    code = await stage.code(f"/tallygate.control.v1.{path}", request, stage.tokens[role])
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)
    return code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", SEERS)
async def test_actions_are_what_the_gate_lets_the_caller_do(stage: AccessStage, role: Role) -> None:
    """Each action that the operator has is had by another role if, and only if, the gate lets that role do it."""
    for name in NAMES:
        request = lifecycle.GetInferenceServiceRequest(name=name)
        whole = await stage.control.lifecycle.GetInferenceService(request, metadata=stage.operator)
        possible = [text_of(action) for action in whole.inference_service.actions]
        assert {"SUSPEND", "UPDATE"} <= set(possible) <= set(CALLS)
        may = [action for action in possible if await allowed(stage, role, name, action)]
        try:
            seen = await stage.control.lifecycle.GetInferenceService(request, metadata=bearer(stage.tokens[role] or ""))
        except grpc.aio.AioRpcError as error:
            assert (error.code(), may) == (grpc.StatusCode.PERMISSION_DENIED, [])  # noqa: PT017  # what comes else is checked
            continue
        assert [text_of(action) for action in seen.inference_service.actions] == may
        assert seen.inference_service.remedies == whole.inference_service.remedies


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", SEERS)
async def test_offers_have_the_services_that_the_caller_sees(stage: AccessStage, role: Role) -> None:
    """The default service for who sees the account, the models for everybody; creation for who may create."""
    request = lifecycle.ListModelOffersRequest(account="accounts/acme")
    page = await stage.control.lifecycle.ListModelOffers(request, metadata=bearer(stage.tokens[role] or ""))
    (offer,) = page.model_offers
    assert offer.model.name == "models/llama"
    assert offer.HasField("default_service") == (role not in (Role.TEAM_ADMIN, Role.TEAM_MEMBER))
    assert page.may_create_services == (role in (Role.OPERATOR, Role.OWNER, Role.TEAM_ADMIN))
    if offer.HasField("default_service"):
        own = lifecycle.GetInferenceServiceRequest(name=offer.default_service.name)
        seen = await stage.control.lifecycle.GetInferenceService(own, metadata=bearer(stage.tokens[role] or ""))
        assert offer.default_service == seen.inference_service
