"""A control service that asks for proof, with two tenants, and a caller with each role that there is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from control_service.bootstrap import Access
from control_service.domain.token_seal import TokenSeal
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, read_token, token_id_of, token_text
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import (
    access_service_pb2_grpc,
    account_service_pb2_grpc,
    alert_service_pb2_grpc,
    api_key_pb2,
    budget_pb2,
    catalog_service_pb2_grpc,
    key_service_pb2_grpc,
    lifecycle_service_pb2_grpc,
    limit_config_pb2,
    limit_service_pb2_grpc,
    team_service_pb2_grpc,
    token_service_pb2_grpc,
)
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import alert_service_pb2 as alerts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import key_service_pb2 as keys
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import limit_service_pb2 as limits
from tallygate.control.v1 import team_service_pb2 as teams
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.wire.control_fleet import Control, running_control

ACME, SEARCH, CHAT, GLOBEX = Scope("acme"), Scope("acme", "search"), Scope("acme", "chat"), Scope("globex")
OPERATOR_TOKEN: Final = token_text(token_id_of(bytes(ID_BYTES)), bytes(SECRET_BYTES))
PEPPER: Final = bytes(range(32))

SERVICES: Final = {ACME: "loner", SEARCH: "finder", CHAT: "talker", GLOBEX: "alien"}
"""A service of each scope, and a key of the same id: of the account alone, of each team, of the other tenant."""
BOUND: Final = {
    Role.OPERATOR: PLATFORM,
    Role.AUDITOR: PLATFORM,
    Role.PRICING: PLATFORM,
    Role.NODE: PLATFORM,
    Role.METER: ACME,
    Role.OWNER: ACME,
    Role.BILLING: ACME,
    Role.VIEWER: ACME,
    Role.TEAM_ADMIN: SEARCH,
    Role.TEAM_MEMBER: SEARCH,
}
"""The scope on which the caller with each role has it."""


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that shows a token; none for an empty one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


@dataclass
class AccessStage:
    """The service, and a token of each role; `tokens[None]` is one of a caller without any role."""

    control: Control
    tokens: dict[Role | None, str] = field(default_factory=dict)
    token_names: dict[Scope, str] = field(default_factory=dict)
    """The name of a token of each scope's service account."""

    async def set_up(self) -> None:
        """Two tenants, one with two teams, a service and a service account in each scope, and the callers."""
        await self._tenants()
        await self._limits()
        for role, scope in BOUND.items():
            self.tokens[role] = await self.token_of(f"serviceAccounts/a-{role.lower().replace('_', '-')}", role, scope)
        self.tokens[None] = await self.token_of("serviceAccounts/nobody")

    async def token_of(self, name: str, role: Role | None = None, scope: Scope = PLATFORM) -> str:
        """A token of a new service account, which has this role."""
        stub = token_service_pb2_grpc.TokenServiceStub(self.control.channel)
        await stub.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=name), metadata=self.operator)
        if role is not None:
            request = access.CreateBindingRequest(
                scope=scope.name, member=f"serviceAccount:{name}", role=role_pb2.Role.Value(f"ROLE_{role}")
            )
            await access_service_pb2_grpc.AccessServiceStub(self.control.channel).CreateBinding(
                request, metadata=self.operator
            )
        made = await stub.CreateAccessToken(
            tokens.CreateAccessTokenRequest(service_account=name), metadata=self.operator
        )
        return str(made.secret)

    @property
    def operator(self) -> tuple[tuple[str, str], ...]:
        """The first operator's metadata."""
        return bearer(OPERATOR_TOKEN)

    async def code(self, path: str, request: Any, token: str, *, is_stream: bool = False) -> grpc.StatusCode:
        """How a call ends. A stream ends by what its first message deserves."""
        channel: Any = self.control.channel
        if is_stream:
            make = channel.stream_stream(path, request_serializer=lambda it: it.SerializeToString())
            call = make(iter([request]), metadata=bearer(token))
        else:
            unary = channel.unary_unary(path, request_serializer=lambda it: it.SerializeToString())
            call = unary(request, metadata=bearer(token))
        code: grpc.StatusCode = await call.code()
        return code

    async def _tenants(self) -> None:
        channel, operator = self.control.channel, self.operator
        account = account_service_pb2_grpc.AccountServiceStub(channel)
        for name in ("acme", "globex"):
            await account.CreateAccount(accounts.CreateAccountRequest(name=f"accounts/{name}"), metadata=operator)
            # Disabled: nothing leaves this machine.
            webhook = alerts.CreateWebhookRequest(
                name=f"accounts/{name}/webhooks/w", url="https://hooks.example", disabled=True
            )
            await alert_service_pb2_grpc.AlertServiceStub(channel).CreateWebhook(webhook, metadata=operator)
        await catalog_service_pb2_grpc.CatalogServiceStub(channel).CreateModel(
            catalogue.CreateModelRequest(name="models/llama"), metadata=operator
        )
        for team in (SEARCH, CHAT, Scope("globex", "search")):
            await team_service_pb2_grpc.TeamServiceStub(channel).CreateTeam(
                teams.CreateTeamRequest(name=team.name), metadata=operator
            )
        for scope in (PLATFORM, *SERVICES):
            prefix = "" if scope == PLATFORM else f"{scope.name}/"
            name, stub = f"{prefix}serviceAccounts/s", token_service_pb2_grpc.TokenServiceStub(channel)
            await stub.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=name), metadata=operator)
            request = tokens.CreateAccessTokenRequest(service_account=name)
            made = await stub.CreateAccessToken(request, metadata=operator)
            self.token_names[scope] = made.access_token.name
        for scope, service in SERVICES.items():
            service_request = lifecycle.CreateInferenceServiceRequest(
                name=f"accounts/{scope.account_id}/services/{service}", model="models/llama", team=scope.team_id
            )
            await lifecycle_service_pb2_grpc.LifecycleServiceStub(channel).CreateInferenceService(
                service_request, metadata=operator
            )
        for scope, key in SERVICES.items():
            key_request = keys.CreateKeyRequest(
                name=f"accounts/{scope.account_id}/keys/{key}",
                team=scope.team_id,
                scope=api_key_pb2.KeyScope(all_services=True, all_models=True),
            )
            await key_service_pb2_grpc.KeyServiceStub(channel).CreateKey(key_request, metadata=operator)

    async def _limits(self) -> None:
        """A rate rule and a budget on each account and on each team's service, and a rule on the model."""
        stub, operator = limit_service_pb2_grpc.LimitServiceStub(self.control.channel), self.operator
        places = {f"accounts/{scope.account_id}/{{}}/{SERVICES[scope]}": place_of(scope) for scope in SERVICES}
        for name, place in {"models/llama/{}/llama": "", **places}.items():
            rule = limits.CreateRateRuleRequest(
                name=name.format("rateRules"),
                place=place,
                metric=limit_config_pb2.RATE_METRIC_REQUESTS,
                limit_units=60,
            )
            await stub.CreateRateRule(rule, metadata=operator)
            if place:
                budget = limits.CreateBudgetRequest(
                    name=name.format("budgets"),
                    place=place,
                    unit=budget_pb2.BUDGET_UNIT_TOKENS,
                    period=budget_pb2.CALENDAR_PERIOD_DAY,
                )
                await stub.CreateBudget(budget, metadata=operator)


def place_of(scope: Scope) -> str:
    """What the limits of a scope hang on: the account, or a team's service."""
    return f"accounts/{scope.account_id}/services/{SERVICES[scope]}" if scope.team_id else scope.name


@asynccontextmanager
async def access_stage(directory: Path) -> AsyncIterator[AccessStage]:
    """Started on a database of its own, and stopped at the end."""
    shown = read_token(OPERATOR_TOKEN)
    assert shown is not None
    credentials = Credentials(seal=TokenSeal(PEPPER), operator=shown)
    async with running_control(directory, access=Access(credentials, asks_for_proof=True)) as control:
        stage = AccessStage(control)
        await stage.set_up()
        yield stage
