"""Many tokens and teams at once: written straight into the control database, while the control service is away.

A meter and a team are made through the API, and their rows are the pattern for all others, as with services.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.accounts import ACCOUNT
from control_service.domain.token_seal import RANDOM_ID_BYTES, TokenSeal
from control_service.storage.access_schema import access_tokens, bindings, service_accounts
from control_service.storage.schema import teams
from tallygate._access.token_text import SECRET_BYTES, token_text
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate._server.database.engine import create_engine
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    team_service_pb2,
    team_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

METER: Final = f"{ACCOUNT}/serviceAccounts/meter"
ROWS_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Meter:
    """An access token of the meter, as control has given it out."""

    name: str
    secret: str = field(repr=False)


async def make_meter(control: str, operator: Mapping[str, str]) -> Meter:
    """A service account that may meter for the account, a token of it; and a team."""
    async with open_aio_channel(control, Security(**operator)) as channel:
        accounts = token_service_pb2_grpc.TokenServiceStub(channel)
        await accounts.CreateServiceAccount(token_service_pb2.CreateServiceAccountRequest(name=METER))
        binding = access_service_pb2.CreateBindingRequest(
            scope=ACCOUNT, member=f"serviceAccount:{METER}", role=role_pb2.ROLE_METER
        )
        await access_service_pb2_grpc.AccessServiceStub(channel).CreateBinding(binding)
        team = team_service_pb2.CreateTeamRequest(name=f"{ACCOUNT}/teams/first")
        await team_service_pb2_grpc.TeamServiceStub(channel).CreateTeam(team)
    return await make_token(control, operator)


async def make_token(control: str, operator: Mapping[str, str]) -> Meter:
    """Another token of the meter."""
    async with open_aio_channel(control, Security(**operator)) as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        made = await stub.CreateAccessToken(token_service_pb2.CreateAccessTokenRequest(service_account=METER))
        return Meter(made.access_token.name, made.secret)


async def disable(control: str, operator: Mapping[str, str], token: str) -> None:
    """Disable the token of this name."""
    async with open_aio_channel(control, Security(**operator)) as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        await stub.DisableAccessToken(token_service_pb2.DisableAccessTokenRequest(name=token))


async def multiply_access(control_url: str, seal: TokenSeal, token_count: int, team_count: int) -> list[str]:
    """So many service accounts like the meter, each with a binding and a token; and teams. The tokens' texts."""
    numbers = range(token_count)
    names = [f"meter-{number:06d}" for number in numbers]
    owners = [f"serviceAccount:{ACCOUNT}/serviceAccounts/{name}" for name in names]
    ids = [seal.new_id(number.to_bytes(RANDOM_ID_BYTES, "big")) for number in numbers]
    texts = [token_text(ids[number], number.to_bytes(SECRET_BYTES, "big")) for number in numbers]
    hashes = [seal.hash_of_text(text) for text in texts]
    async with _writing(control_url) as connection:
        await _multiply(connection, service_accounts, {"service_account_id": names})
        await _multiply(connection, bindings, {"binding_id": names, "member": owners})
        await _multiply(connection, access_tokens, {"token_id": ids, "owner": owners, "secret_hash": hashes})
        await _multiply(connection, teams, {"team_id": [f"team-{number:06d}" for number in range(team_count)]})
    return texts


@asynccontextmanager
async def _writing(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _multiply(connection: AsyncConnection, table: Table, columns: Mapping[str, list[Any]]) -> None:
    """Rows like the one that there is, each with its own values of these columns."""
    pattern = dict((await connection.execute(select(table))).mappings().one())
    rows = [{**pattern, **dict(zip(columns, values, strict=True))} for values in zip(*columns.values(), strict=True)]
    for first in range(0, len(rows), ROWS_AT_ONCE):
        await connection.execute(insert(table), rows[first : first + ROWS_AT_ONCE])
