"""Keys listed by the service that they may be used for, on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import api_key_pb2
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import key_service_pb2 as pb
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import team_service_pb2 as teams
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.wire.callers import calling, guarded_control
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control

ACME = "accounts/acme"
EVERYTHING = api_key_pb2.KeyScope(all_services=True, all_models=True)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    """A server with two teams, a service of one of them, and one of none."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        for team in ("search", "chat"):
            await control.teams.CreateTeam(teams.CreateTeamRequest(name=f"{ACME}/teams/{team}"))
        for service, team in (("finder", "search"), ("loner", "")):
            request = lifecycle.CreateInferenceServiceRequest(
                name=f"{ACME}/services/{service}", model="models/llama", team=team
            )
            await control.lifecycle.CreateInferenceService(request)
        yield control


async def make(control: Control, name: str, **settings: Any) -> None:
    scope = settings.pop("scope", EVERYTHING)
    await control.keys.CreateKey(pb.CreateKeyRequest(name=name, scope=scope, **settings))


async def listed(control: Control, **wanted: Any) -> list[str]:
    answer = await control.keys.ListKeys(pb.ListKeysRequest(**wanted))
    return [key.name.rpartition("/")[2] for key in answer.keys]


def some(service_id: str) -> api_key_pb2.KeyScope:
    return api_key_pb2.KeyScope(services=[f"{ACME}/services/{service_id}"], all_models=True)


async def test_keys_of_a_service_are_those_that_may_be_used_for_it(control: Control) -> None:
    """By their scopes and their teams; pages go on where they ended, however few fit."""
    await control.catalogue.CreateModel(catalogue.CreateModelRequest(name="models/other"))
    made: dict[str, dict[str, Any]] = {
        "any": {},
        "chat": {"team": "chat"},
        "one": {"scope": some("finder")},
        "other": {"scope": some("loner")},
        "search": {"team": "search"},
        "unlike": {"scope": api_key_pb2.KeyScope(all_services=True, models=["models/other"])},
    }
    for name, settings in made.items():
        await make(control, f"{ACME}/keys/{name}", **settings)
    finder = f"{ACME}/services/finder"
    assert await listed(control, account=ACME, inference_service=finder) == ["any", "one", "search"]
    assert await listed(control, account=ACME, inference_service=f"{ACME}/services/loner") == ["any", "other"]
    found, token = [], ""
    while True:
        request = pb.ListKeysRequest(account=ACME, inference_service=finder, page_size=1, page_token=token)
        answer = await control.keys.ListKeys(request)
        found += [key.name.rpartition("/")[2] for key in answer.keys]
        token = answer.next_page_token
        if not token:
            break
    assert found == ["any", "one", "search"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"account": ACME, "inference_service": f"{ACME}/services/none"}, "RESOURCE_NOT_FOUND"),
        ({"account": ACME, "inference_service": "accounts/globex/services/s"}, "INVALID_REQUEST"),
        ({"inference_service": "accounts/globex/services/s"}, "RESOURCE_NOT_FOUND"),
    ],
)
async def test_keys_of_no_service_of_the_account(control: Control, wanted: dict[str, Any], reason: str) -> None:
    """There are none, and the field is named."""
    assert (await failure(control.keys.ListKeys(pb.ListKeysRequest(**wanted)))).reason == reason


async def test_a_team_asks_for_services_that_it_sees(control: Control) -> None:
    """Of others it learns nothing, not even that they are there."""
    await make(control, f"{ACME}/keys/found", team="search")
    await make(control, f"{ACME}/keys/first")
    robot, scope = f"{ACME}/teams/search/serviceAccounts/admin", f"{ACME}/teams/search"
    await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=robot))
    role = access.CreateBindingRequest(scope=scope, member=f"serviceAccount:{robot}", role=role_pb2.ROLE_TEAM_ADMIN)
    await control.access.CreateBinding(role)
    made = await control.tokens.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=robot))
    async with calling(control.address, made.secret) as admin:
        assert await listed(admin, account=ACME, inference_service=f"{ACME}/services/finder") == ["found"]
        for unseen in ("loner", "default-llama", "none"):
            request = pb.ListKeysRequest(account=ACME, inference_service=f"{ACME}/services/{unseen}")
            assert (await failure(admin.keys.ListKeys(request))).reason == "RESOURCE_NOT_FOUND"
