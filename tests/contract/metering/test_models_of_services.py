"""The model of each service that something was recorded of, for usage by model, and what nothing was recorded of."""

from pathlib import Path

from sqlalchemy import column, insert, select, table
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.usage_scope import UsageScope
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from metering_service.storage.schema import services
from tallygate._access.rights import Sight
from tallygate._server.database.engine import migrate
from tests.harness.metering.old_rows import migrations_below
from tests.harness.metering.records import NODE, SERVICE, UID, batch, denial, rows, settled_request, usage

OTHER = "accounts/acme/services/other"


async def by_model(reader: SqlUsageReader) -> dict[str, tuple[int, int]]:
    """Output tokens and denials of the account by model."""
    found = await rows(reader, services=("accounts/acme",), group_by=("model",))
    return {
        dict(row.group)["model"]: (row.totals.usage.output, sum(count for _, count in row.denials)) for row in found
    }


async def test_usage_by_model(database: AsyncEngine, reader: SqlUsageReader) -> None:
    """Services on one model are together, denials as well; what is not known yet is told later, and then stays."""
    known = {SERVICE: "models/llama", OTHER: ""}
    for number, _ in enumerate(("first", "later", "forgotten"), 1):
        recorder = SqlRecorder(database, lambda: "id")
        recorder.model_of = known.__getitem__
        epoch = await recorder.register_node(NODE)
        parts = (usage(0, number), usage(0, 10 * number, service=OTHER, uid="uid-other"), denial(0, 1))
        records = (settled_request(f"r{number}"), settled_request("r", service=OTHER, service_uid="uid-other"))
        await recorder.commit(NODE, epoch, batch(1, *parts, *records))
        await recorder.close()
        if number == 1:
            assert await by_model(reader) == {"models/llama": (1, 1), "": (10, 0)}
            known = {SERVICE: "models/llama", OTHER: "models/llama"}
        elif number == 2:
            known = {SERVICE: "", OTHER: ""}
    assert await by_model(reader) == {"models/llama": (66, 3)}


async def test_who_was_only_denied_has_a_model(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Although there is no record of any request."""
    recorder.model_of = {SERVICE: "models/llama"}.__getitem__
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, denial(0, 2)))
    assert await by_model(reader) == {"models/llama": (0, 2)}


async def test_older_default_services_have_the_model_of_their_name(engine: AsyncEngine, tmp_path: Path) -> None:
    """Others are told by nodes."""
    names = {"a": "accounts/acme/services/default-llama-3.1", "b": SERVICE}
    await migrate(engine, migrations_below("0017", tmp_path), "metering service")
    async with engine.begin() as connection:
        for uid, name in names.items():
            old = table("services", column("service_uid"), column("service"))
            await connection.execute(insert(old).values(service_uid=uid, service=name))
    await migrate(engine, MIGRATIONS, "metering service")
    async with engine.connect() as connection:
        found = {uid: model for uid, _, model in await connection.execute(select(services))}
    assert found == {"a": "models/llama-3.1", "b": ""}


async def test_names_that_nothing_was_recorded_of(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Of services and accounts; denials are a record, too. Whoever sees single teams is told nothing."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, usage(0, 1, uid=UID), denial(0, 1, service=OTHER)))
    unknown = ["accounts/acm", "accounts/acme/services/cha"]
    asked = ["accounts/acme", SERVICE, OTHER, *unknown]
    assert await reader.unused(asked) == unknown
    of_a_team = UsageScope(Sight(teams=frozenset({("acme", "red"), ("acm", "red")})))
    assert await reader.unused(asked, of_a_team) == []
