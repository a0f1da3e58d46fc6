"""Lists on a real server have what their caller may see, and their pages are full."""

import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_service.bootstrap import Access
from control_service.usecases.people.teams import ServiceTeams
from tallygate._access.rights import ALL_RIGHTS, Right
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.clock import ManualClock
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import model_pb2
from tallygate.control.v1 import operations_service_pb2 as operations
from tallygate.control.v1 import team_service_pb2 as teams
from tests.harness.wire.caller_channel import calling
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control, running_control
from tests.harness.wire.known_callers import KnownCallers

ACME, BOLT = Scope("acme"), Scope("bolt")
DEFAULT = "default-llama"
RIGHTS = {
    "auditor": (Right(Role.AUDITOR, PLATFORM),),
    "owner": (Right(Role.OWNER, ACME),),
    "admin": (Right(Role.TEAM_ADMIN, Scope("acme", "blue")),),
    "member": (Right(Role.TEAM_MEMBER, Scope("acme", "blue")), Right(Role.TEAM_MEMBER, Scope("bolt", "blue"))),
    "mixed": (Right(Role.VIEWER, BOLT), Right(Role.TEAM_MEMBER, Scope("acme", "red"))),
    "theirs": (Right(Role.OWNER, BOLT), Right(Role.TEAM_ADMIN, Scope("bolt", "blue"))),
    "both": (Right(Role.TEAM_ADMIN, Scope("acme", "blue")), Right(Role.TEAM_ADMIN, Scope("acme", "red"))),
    "stranger": (Right(Role.OWNER, Scope("corp")),),
}
SEERS = ("auditor", "owner", "admin", "member", "mixed", "stranger")
SERVICES = {"a": "blue", "b": "red", "c": "blue", "d": "", "e": "red", "f": "blue"}


async def furnish(control: Control, account_id: str) -> None:
    """An account with two teams and six services; each text in it has the account's mark."""
    mark = f"{account_id}-secret"
    name = f"accounts/{account_id}"
    await control.accounts.CreateAccount(accounts.CreateAccountRequest(name=name, display_name=mark))
    paid = accounts.TopUpAccountRequest(name=name, amount_nanos=10**12, reason=mark)
    await control.accounts.TopUpAccount(paid)
    for team_id in ("blue", "red"):
        await control.teams.CreateTeam(teams.CreateTeamRequest(name=f"{name}/teams/{team_id}", display_name=mark))
    for service_id, team_id in SERVICES.items():
        await control.lifecycle.CreateInferenceService(
            lifecycle.CreateInferenceServiceRequest(
                name=f"{name}/services/{service_id}",
                model="models/llama",
                display_name=mark,
                team=team_id,
                labels={mark: mark},
                billing=lifecycle.InitialBilling(enable_postpaid=True),
            )
        )
    await control.lifecycle.EnablePostpaid(lifecycle.EnablePostpaidRequest(name=f"{name}/services/{DEFAULT}"))


@asynccontextmanager
async def two_tenants(directory: Path) -> AsyncIterator[Control]:
    """Accounts acme and bolt, and callers with all kinds of rights in them. No month ends meanwhile."""
    access = Access(authenticator=KnownCallers({**RIGHTS, "operator": ALL_RIGHTS.rights}))
    async with running_control(directory, ManualClock(), access, "operator") as control:
        await control.catalogue.CreateModel(catalogue.CreateModelRequest(name="models/llama"))
        await control.publish(1_000)
        for account_id in ("acme", "bolt"):
            await furnish(control, account_id)
        yield control


async def pages(method: Any, request: Any, size: int) -> list[Any]:
    """All that a list has, page by page; each page but the last is full."""
    found: list[Any] = []
    request.page_size = size
    while True:
        page = await method(request)
        elements = next((list(value) for field, value in page.ListFields() if field.is_repeated), [])
        found += elements
        request.page_token = page.next_page_token
        if not request.page_token:
            return found
        assert len(elements) == size


async def service_ids(control: Control, size: int, **filters: Any) -> list[str]:
    request = lifecycle.ListInferenceServicesRequest(**filters)
    found = await pages(control.lifecycle.ListInferenceServices, request, size)
    return [service.name.removeprefix("accounts/").replace("/services/", "/") for service in found]


def ids(account_id: str, *names: str) -> list[str]:
    return [f"{account_id}/{name}" for name in names]


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_services_are_those_of_what_the_caller_sees(tmp_path: Path, size: int) -> None:
    """A team's alone, whatever is filtered; default ones for who sees the account."""
    everything = ("a", "b", "c", "d", DEFAULT, "e", "f")
    async with two_tenants(tmp_path) as control:

        async def seen(name: str, **filters: Any) -> list[str]:
            async with calling(control.address, name) as channel:
                return await service_ids(Control(control.address, channel), size, **filters)

        of_acme = {"account": "accounts/acme"}
        for name in ("operator", "auditor", "owner"):
            assert await seen(name, **of_acme) == ids("acme", *everything)
        for name in ("admin", "member"):
            assert await seen(name, **of_acme) == ids("acme", "a", "c", "f")
            assert await seen(name, **of_acme, team="red") == []
            assert await seen(name, **of_acme, team="blue", model="models/llama") == ids("acme", "a", "c", "f")
        assert await seen("mixed", **of_acme) == ids("acme", "b", "e")
        assert await seen("auditor") == [*ids("acme", *everything), *ids("bolt", *everything)]
        assert await seen("owner") == ids("acme", *everything)
        assert await seen("member") == [*ids("acme", "a", "c", "f"), *ids("bolt", "a", "c", "f")]
        assert await seen("mixed") == [*ids("acme", "b", "e"), *ids("bolt", *everything)]
        assert await seen("mixed", team="blue") == ids("bolt", "a", "c", "f")
        assert await seen("stranger") == []
        async with calling(control.address, "stranger") as channel:
            stranger = Control(control.address, channel)
            refused = await failure(service_ids(stranger, size, **of_acme))
            assert (refused.code, refused.metadata) == (grpc.StatusCode.NOT_FOUND, {"resource": "accounts/acme"})


async def test_accounts_and_teams_are_those_that_the_caller_sees(tmp_path: Path) -> None:
    """To read a team is not to read its account."""
    async with two_tenants(tmp_path) as control:
        seen = {}
        for name in SEERS:
            async with calling(control.address, name) as channel:
                one, reads = Control(control.address, channel), name not in ("admin", "member")
                if not reads:
                    refused = await failure(one.accounts.ListAccounts(accounts.ListAccountsRequest()))
                    assert refused.metadata == {"permission": "ACCOUNTS_READ", "scope": "platform"}
                found = await pages(one.accounts.ListAccounts, accounts.ListAccountsRequest(), 1) if reads else []
                of_acme = teams.ListTeamsRequest(account="accounts/acme")
                listed = [] if name == "stranger" else await pages(one.teams.ListTeams, of_acme, 1)
            seen[name] = [account.name[9:] for account in found], [team.name[20:] for team in listed]
        assert seen == {
            "auditor": (["acme", "bolt"], ["blue", "red"]),
            "owner": (["acme"], ["blue", "red"]),
            "admin": ([], ["blue"]),
            "member": ([], ["blue"]),
            "mixed": (["bolt"], ["red"]),
            "stranger": ([], []),
        }


async def test_a_statement_has_what_the_caller_sees(tmp_path: Path) -> None:
    """Balances and payments for who reads the account; what a team's services cost for who is in the team."""
    async with two_tenants(tmp_path) as control:
        prices = model_pb2.ReservationPrice(
            input_nanos_per_thousand_tpm_day=1_000, output_nanos_per_thousand_tpm_day=1_000
        )
        changed = catalogue.UpdateModelRequest(name="models/llama", reservation_price=prices)
        await control.catalogue.UpdateModel(changed)
        for service_id in ("a", "b"):
            terms = lifecycle.ReservationTerms(
                input_tokens_per_minute=1_000, output_tokens_per_minute=1_000, term_day_count=1
            )
            name = f"accounts/acme/services/{service_id}"
            await control.lifecycle.PurchaseReservation(
                lifecycle.PurchaseReservationRequest(inference_service=name, terms=terms)
            )
        seen, request = {}, accounts.GetStatementRequest(account="accounts/acme")
        for caller in SEERS[:-1]:
            async with calling(control.address, caller) as channel:
                found = (await Control(control.address, channel).accounts.GetStatement(request)).statement
            balances = found.HasField("opening_balance_nanos"), found.HasField("closing_balance_nanos")
            seen[caller] = (*balances, found.top_up_nanos, found.reservation_nanos, [one.team for one in found.lines])
        whole = (True, True, 10**12, -4_000, ["blue", "red"])
        assert seen == {
            "auditor": whole,
            "owner": whole,
            "admin": (False, False, 0, -2_000, ["blue"]),
            "member": (False, False, 0, -2_000, ["blue"]),
            "mixed": (False, False, 0, -2_000, ["red"]),
        }
        async with calling(control.address, "stranger") as channel:
            refused = await failure(Control(control.address, channel).accounts.GetStatement(request))
        assert refused.code is grpc.StatusCode.NOT_FOUND


ASKED: tuple[tuple[str, str, Any], ...] = (
    ("accounts", "ListAccounts", accounts.ListAccountsRequest),
    ("accounts", "GetAccount", accounts.GetAccountRequest),
    ("accounts", "ForecastAccount", accounts.ForecastAccountRequest),
    ("accounts", "ListLedgerEntries", accounts.ListLedgerEntriesRequest),
    ("accounts", "GetStatement", accounts.GetStatementRequest),
    ("catalogue", "ListModels", catalogue.ListModelsRequest),
    ("lifecycle", "ListInferenceServices", lifecycle.ListInferenceServicesRequest),
    ("lifecycle", "GetInferenceService", lifecycle.GetInferenceServiceRequest),
    ("lifecycle", "ListReservations", lifecycle.ListReservationsRequest),
    ("lifecycle", "ListServiceEvents", lifecycle.ListServiceEventsRequest),
    ("lifecycle", "ClaimFreeTrial", lifecycle.ClaimFreeTrialRequest),
    ("lifecycle", "UpdateInferenceService", lifecycle.UpdateInferenceServiceRequest),
    ("operations", "ListPots", operations.ListPotsRequest),
    ("operations", "ListLeases", operations.ListLeasesRequest),
    ("operations", "ListNodes", operations.ListNodesRequest),
    ("teams", "ListTeams", teams.ListTeamsRequest),
    ("teams", "GetTeam", teams.GetTeamRequest),
)


LIKELY = {"name": 1, "inference_service": 1, "account": 0.8}
"""Names are nearly always given: little is answered without them."""


async def test_no_text_of_another_tenant_comes_back(tmp_path: Path) -> None:
    """Whatever a caller of one account asks, with whichever names, filters and page tokens of either account."""
    chance = random.Random(20)  # no secret
    async with two_tenants(tmp_path) as control:
        tokens, answered = [""], 0
        for _ in range(600):
            name = chance.choice(["owner", "admin", "theirs"])
            stub, method, message = chance.choice(ASKED)
            request = message()
            for field in message.DESCRIPTOR.fields:
                value = _value(chance, field.name, tokens)
                if value is not None and chance.random() < LIKELY.get(field.name, 0.4):
                    setattr(request, field.name, value)
            async with calling(control.address, name) as channel:
                try:
                    answer = await getattr(getattr(Control(control.address, channel), stub), method)(request)
                except grpc.aio.AioRpcError as error:
                    said, asked = f"{error.details()}{error.trailing_metadata()}", str(request)
                else:
                    said, asked, answered = str(answer), "", answered + 1
                    tokens.append(getattr(answer, "next_page_token", ""))
            other = "bolt" if name in ("owner", "admin") else "acme"
            assert f"{other}-secret" not in said, (name, method, request)
            assert asked or re.search(f"accounts/{other}", said) is None, (name, method, request)
        assert answered > 100, "most of what is asked is answered with something"


def _value(chance: random.Random, field: str, tokens: list[str]) -> Any:
    account_id, team_id = chance.choice(("acme", "bolt")), chance.choice(("blue", "red"))
    service = f"accounts/{account_id}/services/{chance.choice([*SERVICES, DEFAULT])}"
    values: dict[str, tuple[Any, ...]] = {
        "name": (f"accounts/{account_id}", service, service, f"accounts/{account_id}/teams/{team_id}"),
        "account": (f"accounts/{account_id}",),
        "inference_service": (service,),
        "model": ("models/llama",),
        "team": (team_id,),
        "page_size": (1, 2, 5),
        "page_token": (chance.choice(tokens),),
        "show_deleted": (True,),
        "display_name": ("",),
    }
    return chance.choice(values[field]) if field in values else None


async def test_a_service_is_moved_by_who_manages_both_teams(tmp_path: Path) -> None:
    """Out of a team to the account, or from there, by who manages the account: an empty field counts as given."""
    async with two_tenants(tmp_path) as control:

        async def moves(name: str, service_id: str, team_id: str) -> str:
            request = lifecycle.UpdateInferenceServiceRequest(name=f"accounts/acme/services/{service_id}", team=team_id)
            async with calling(control.address, name) as channel:
                lifecycle_of = Control(control.address, channel).lifecycle
                try:
                    return str((await lifecycle_of.UpdateInferenceService(request)).inference_service.team)
                except grpc.aio.AioRpcError:
                    return (await failure(lifecycle_of.UpdateInferenceService(request))).metadata["scope"]

        assert await moves("admin", "a", "blue") == "blue"
        assert await moves("admin", "a", "red") == "accounts/acme/teams/red"
        assert await moves("admin", "a", "") == "accounts/acme"
        assert await moves("admin", "b", "blue") == "accounts/acme/teams/red"
        assert await moves("admin", "d", "blue") == "accounts/acme"
        assert await moves("both", "a", "red") == "red"
        assert await moves("both", "a", "") == "accounts/acme"
        assert await moves("owner", "a", "") == ""
        assert await moves("owner", "a", "blue") == "blue"


async def test_what_was_moved_after_the_gate_looked_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate still saw the service in a team of the caller's; the change looks again."""

    async def seen_before(_self: ServiceTeams, _account_id: str, _service_id: str) -> str:
        return "blue"

    async with two_tenants(tmp_path) as control:
        monkeypatch.setattr(ServiceTeams, "team_of", seen_before)
        async with calling(control.address, "admin") as channel:
            admin = Control(control.address, channel)
            for service_id in ("b", "d"):
                name = f"accounts/acme/services/{service_id}"
                for call in (
                    admin.lifecycle.UpdateInferenceService(lifecycle.UpdateInferenceServiceRequest(name=name)),
                    admin.lifecycle.ClaimFreeTrial(lifecycle.ClaimFreeTrialRequest(name=name)),
                    admin.lifecycle.DeleteInferenceService(lifecycle.DeleteInferenceServiceRequest(name=name)),
                ):
                    refused = await failure(call)
                    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
                    assert refused.metadata["permission"] == "SERVICES_MANAGE"
            kept = lifecycle.UpdateInferenceServiceRequest(name="accounts/acme/services/a", display_name="mine")
            assert (await admin.lifecycle.UpdateInferenceService(kept)).inference_service.display_name == "mine"


async def test_a_page_token_is_its_callers(tmp_path: Path) -> None:
    """Another caller who may see as much begins with it nowhere, and neither does its own with other filters."""
    async with two_tenants(tmp_path) as control:
        request = lifecycle.ListInferenceServicesRequest(account="accounts/acme", page_size=2)
        async with calling(control.address, "owner") as channel:
            owner = Control(control.address, channel)
            request.page_token = (await owner.lifecycle.ListInferenceServices(request)).next_page_token
            second = await owner.lifecycle.ListInferenceServices(request)
            assert [service.name[-1] for service in second.inference_services] == ["c", "d"]
        assert (await failure(control.lifecycle.ListInferenceServices(request))).fields == ["page_token"]
