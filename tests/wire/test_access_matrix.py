"""Every RPC of control by every role, on one's own account and team, a sibling team, another tenant and the platform.

Calls come from the contract's options. What should come of each is computed here, from the page's table of roles.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from tallygate._access.permission import Permission
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate.access.v1 import access_rule_pb2, permission_pb2
from tests.harness.access_tables import permissions_by_role
from tests.harness.wire.access_stage import ACME, BOUND, CHAT, GLOBEX, SEARCH, SERVICES, AccessStage, access_stage
from tests.harness.wire.contract_files import methods, reference

CONTROL = [method for method in methods() if method.containing_service.full_name.startswith("tallygate.control.")]
PLACES = {"own account": ACME, "own team": SEARCH, "sibling team": CHAT, "other tenant": GLOBEX, "platform": PLATFORM}
TOO_LONG = "k" * 1_000
"""A key that no call takes: whoever is let in is told so, and nothing is changed."""
OF_TEAMS = {"Team", "Binding", "ServiceAccount", "AccessToken", "ApiKey", "InferenceService", "Reservation", "*"}
LIMITS = {"RateRule", "Budget"}
LIMITS_OF_TEAMS = {"GetRateRule", "UpdateRateRule", "GetBudget", "UpdateBudget"}
"""Calls on a limit of a team's service: the gate sees the account, and the call the team. Updates change nothing."""
OF_THE_PLATFORM = {"Binding", "ServiceAccount", "AccessToken", "RateRule", "*"}

LET_IN, DENIED, NOT_FOUND, NO_PROOF = "let in", "denied", "not found", "no proof"
PERMISSIONS = permissions_by_role()


@dataclass(frozen=True)
class Case:
    """One call: a request of a method, about something in a place."""

    method: MethodDescriptor
    place: Scope
    request: Any

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def option(method: MethodDescriptor) -> Any:
    return method.GetOptions().Extensions[access_rule_pb2.access]


def cases() -> Iterator[Case]:
    """A case for each place in which what the method names can be; one for what names nothing."""
    for method in CONTROL:
        rule = option(method)
        if not rule.scope_field:
            yield Case(method, PLATFORM, request_of(method, PLATFORM, ""))
            continue
        kind = reference(field_at(method, rule.scope_field)).removeprefix("tallygate/")
        for place in PLACES.values():
            of_team = kind in OF_TEAMS or method.name in LIMITS_OF_TEAMS
            if (place.team_id and not of_team) or (place == PLATFORM and kind not in OF_THE_PLATFORM):
                continue
            if kind == "Team" and not place.team_id and method.name != "CreateTeam" and place != GLOBEX:
                continue
            yield Case(method, place, request_of(method, place, name_of(kind, place)))


def name_of(kind: str, place: Scope) -> str:
    """The name of something of this kind in this place."""
    prefix = "" if place == PLATFORM else f"{place.name}/"
    match kind:
        case "Account" | "*":
            return place.name
        case "InferenceService" | "Reservation":
            service = f"accounts/{place.account_id}/services/{SERVICES[place]}"
            return service if kind == "InferenceService" else f"{service}/reservations/1"
        case "ApiKey":
            return f"accounts/{place.account_id}/keys/{SERVICES[place]}"
        case "Team":
            return place.name if place.team_id else f"{place.name}/teams/search"
    if kind in LIMITS:
        parent = f"accounts/{place.account_id}" if place.account_id else "models/llama"
        return f"{parent}/{kind[:1].lower()}{kind[1:]}s/{SERVICES.get(place, 'llama')}"
    collection = {"Binding": "bindings/b", "ServiceAccount": "serviceAccounts/s", "Webhook": "webhooks/w"}
    return prefix + collection.get(kind, "serviceAccounts/s/accessTokens/t")


def request_of(method: MethodDescriptor, place: Scope, name: str) -> Any:
    rule = option(method)
    request: Any = message_factory.GetMessageClass(method.input_type)()
    if rule.scope_field:
        put(request, rule.scope_field, name)
    if rule.creates:
        request.name = f"{name.rpartition('/')[0]}/fresh"
    if rule.team_field and place.team_id:
        put(request, rule.team_field, place.team_id)
    if "idempotency_key" in method.input_type.fields_by_name and method.name not in LIMITS_OF_TEAMS:
        request.idempotency_key = TOO_LONG
    return request


def put(request: Any, path: str, value: str) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        request = getattr(request, parent)
    setattr(request, last, value)


def field_at(method: MethodDescriptor, path: str) -> FieldDescriptor:
    return method.input_type.fields_by_name[path]


def expected(case: Case, role: Role | None) -> str:
    """What the page promises, worked out from its table alone."""
    rule = option(case.method)
    if rule.audience in (access_rule_pb2.AUDIENCE_ANYONE, access_rule_pb2.AUDIENCE_AUTHENTICATED):
        return LET_IN
    has = BOUND.get(role) if role is not None else None
    if case.place != PLATFORM and (has is None or has.account_id not in ("", case.place.account_id)):
        return NOT_FOUND
    needed = rule.model_permission if rule.model_permission and case.place == PLATFORM else rule.permission
    permission = Permission(permission_pb2.Permission.Name(needed).removeprefix("PERMISSION_"))
    if has is None or role is None or permission not in PERMISSIONS[role]:
        return DENIED
    wider = has.account_id in ("", case.place.account_id) and has.team_id in ("", case.place.team_id)
    narrower = case.place == PLATFORM or (has.account_id == case.place.account_id and not case.place.team_id)
    narrowed = rule.narrowed and case.method.name not in LIMITS_OF_TEAMS
    return LET_IN if wider or (narrowed and narrower) else DENIED


def came_of(code: grpc.StatusCode) -> str:
    return {
        grpc.StatusCode.UNAUTHENTICATED: NO_PROOF,
        grpc.StatusCode.PERMISSION_DENIED: DENIED,
        grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    }.get(code, LET_IN)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AccessStage]:
    async with access_stage(tmp_path_factory.mktemp("access")) as stage:
        yield stage


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", [*Role, None], ids=lambda role: role or "nobody")
async def test_each_role_does_what_the_page_says_and_no_more(stage: AccessStage, role: Role | None) -> None:
    """On a real server, by a real token of that role."""
    wrong = {}
    for case in cases():
        if option(case.method).own and expected(case, role) is DENIED:
            continue  # It may be the caller's own; the next test has these.
        code = await stage.code(case.path, case.request, stage.tokens[role], is_stream=case.method.client_streaming)
        if came_of(code) != expected(case, role):
            wrong[case.path.rpartition("/")[2], case.place.name] = (code.name, expected(case, role))
    assert wrong == {}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", [*Role, None], ids=lambda role: role or "nobody")
async def test_what_is_somebody_elses_is_not_ones_own(stage: AccessStage, role: Role | None) -> None:
    """Tokens and principals of others are denied, or not found, to whoever lacks the permission."""
    wrong = {}
    for case in cases():
        rule = option(case.method)
        if not rule.own or expected(case, role) is LET_IN or case.place == PLATFORM:
            continue
        if case.method.name != "ListAccessTokens":
            case.request.ClearField("idempotency_key")
        if "AccessToken" in case.method.name and rule.scope_field == "name":
            case.request.name = stage.token_names[case.place]
        code = await stage.code(case.path, case.request, stage.tokens[role])
        if came_of(code) not in (DENIED, NOT_FOUND):
            wrong[case.path, case.place.name] = code.name
    assert wrong == {}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("token", ["", "nonsense"])
async def test_without_proof_only_the_way_in_is_open(stage: AccessStage, token: str) -> None:
    """Signing in, and nothing else."""
    for case in cases():
        code = await stage.code(case.path, case.request, token, is_stream=case.method.client_streaming)
        is_open = option(case.method).audience == access_rule_pb2.AUDIENCE_ANYONE
        if case.method.name != "ExchangeToken":  # It is let in, and refuses what is no ID token likewise.
            assert (came_of(code) is NO_PROOF) == (not is_open), (case.path, code)


def test_the_matrix_has_every_rpc_and_place() -> None:
    """Some thousand calls: every method, and every place for what can be anywhere."""
    every = list(cases())
    assert {case.method.full_name for case in every} == {method.full_name for method in CONTROL}
    anywhere = {case.place for case in every if case.method.name == "ListBindings"}
    assert anywhere == set(PLACES.values())
