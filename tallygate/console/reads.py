"""Reads that several pages make."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tallygate._access.permission import Permission
from tallygate.console.visit import Visit
from tallygate.control.v1 import (
    account_pb2,
    account_service_pb2,
    catalog_service_pb2,
    lifecycle_service_pb2,
    model_pb2,
    operations_service_pb2,
    pot_pb2,
    team_service_pb2,
)
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub
from tallygate.control.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tallygate.control.v1.inference_service_pb2 import InferenceService
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tallygate.control.v1.operations_service_pb2_grpc import OperationsServiceStub
from tallygate.control.v1.team_service_pb2_grpc import TeamServiceStub

LEVELS_S: Final = 5
"""Number of seconds for which the levels of reservations are not read again."""
_RESERVED: Final = frozenset({pot_pb2.POT_KIND_RESERVATION_INPUT, pot_pb2.POT_KIND_RESERVATION_OUTPUT})


async def read_account(visit: Visit) -> account_pb2.Account:
    """The account that the address names. Raises CallError."""
    request = account_service_pb2.GetAccountRequest(name=visit.account)
    return (await AccountServiceStub(visit.control).GetAccount(request)).account


def service_name(visit: Visit) -> str:
    """The name of the service that the address names."""
    return f"{visit.account}/services/{visit.request.path_params['service']}"


async def read_service(visit: Visit) -> InferenceService:
    """The service that the address names. Raises CallError."""
    request = lifecycle_service_pb2.GetInferenceServiceRequest(name=service_name(visit))
    return (await LifecycleServiceStub(visit.control).GetInferenceService(request)).inference_service


async def read_model(visit: Visit, service: InferenceService) -> model_pb2.Model:
    """The model of a service, with its price in force. Raises CallError."""
    request = catalog_service_pb2.GetModelRequest(name=service.model)
    return (await CatalogServiceStub(visit.control).GetModel(request)).model


def model_name(visit: Visit) -> str:
    """The name of the model that the address names."""
    return f"models/{visit.request.path_params['model']}"


async def model_of(visit: Visit) -> model_pb2.Model:
    """The model that the address names, with its price in force. Raises CallError."""
    request = catalog_service_pb2.GetModelRequest(name=model_name(visit))
    return (await CatalogServiceStub(visit.control).GetModel(request)).model


async def read_teams(visit: Visit) -> list[str]:
    """Ids of the account's teams that the caller sees, one page of them. Raises CallError."""
    if not visit.may(Permission.TEAMS_READ):
        return []
    request = team_service_pb2.ListTeamsRequest(account=visit.account)
    return [team.name.rpartition("/")[2] for team in (await TeamServiceStub(visit.control).ListTeams(request)).teams]


async def read_levels(visit: Visit, services: Sequence[InferenceService]) -> dict[str, list[pot_pb2.Pot]]:
    """The pots of reservations by the names of those services that have one; none for who may not see the account."""
    names = [
        service.name
        for service in services
        if service.reserved_input_tokens_per_minute or service.reserved_output_tokens_per_minute
    ]
    if not names or not visit.sees_account(Permission.ACCOUNTS_READ):
        return {}

    async def read() -> dict[str, list[pot_pb2.Pot]]:
        return dict(zip(names, await asyncio.gather(*(_pots(visit, name) for name in names)), strict=True))

    return await visit.lately(f"levels {names}", LEVELS_S, read)


async def _pots(visit: Visit, name: str) -> list[pot_pb2.Pot]:
    request = operations_service_pb2.ListPotsRequest(account=visit.account, inference_service=name)
    answer = await OperationsServiceStub(visit.control).ListPots(request)
    return [pot for pot in answer.pots if pot.kind in _RESERVED]
