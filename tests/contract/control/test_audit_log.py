"""The audit log: what is listed, to whom, how refusals are counted, and when entries go."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.api.audit_servicer import AuditServicer
from control_service.domain.actor import CallSource
from control_service.domain.audit_entry import AuditEntry, AuditOutcome, entry_of_refusal
from control_service.domain.errors import InvalidRequestError, StorageUnavailableError, SupersededError
from control_service.domain.kept_days import USUAL
from control_service.storage.database import SqlDatabase
from control_service.usecases.audit.refusal_log import BATCH_SIZE, RefusalLog
from control_service.usecases.audit_ports import AuditFilter
from control_service.usecases.fleet.exchange_messages import ExchangeRequest
from control_service.usecases.upkeep.retention import BATCH_SIZE as PURGE_SIZE
from control_service.usecases.upkeep.retention import DAY_US, PERIOD_NS
from tallygate._access.refusals import MINUTE_US, RefusalCounts, RefusedCalls
from tallygate._access.rights import ALL_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._server.grpc.caller import Caller, set_caller
from tallygate.control.v1 import audit_entry_pb2
from tallygate.control.v1 import audit_service_pb2 as pb
from tests.harness.control.fleet_harness import Kit

LAST = 2**63 - 1, ""
NOW_US = 1_700_000_000_000_000
METHOD = "tallygate.metering.v1.MeteringService/Meter"


def entry(number: int, resource: str = "accounts/acme", principal: str = "person:anna") -> AuditEntry:
    account = resource.split("/")[1] if resource.startswith("accounts/") else ""
    return AuditEntry(
        f"{number:04}", NOW_US + number, AuditOutcome.CHANGED, METHOD, CallSource(principal), resource, account
    )


ENTRIES = (
    entry(1),
    entry(2, "accounts/acme/services/chat"),
    entry(3, "accounts/acme/services/chat-2", "person:ben"),
    entry(4, "accounts/acme/teams/search/bindings/b"),
    entry(5, "accounts/acmes"),
    entry(6, "models/llama"),
    replace(entry(7, "accounts/beta/services/chat"), outcome=AuditOutcome.DENIED, method="a.B/C"),
)


async def store(database: SqlDatabase, entries: Iterable[AuditEntry] = ENTRIES) -> None:
    async with database.writing() as tx:
        for one in entries:
            await tx.audit.add(one)


async def stored(database: SqlDatabase) -> list[AuditEntry]:
    async with database.reading() as tx:
        return await tx.audit.page(AuditFilter(), LAST, 10_000)


async def listed(database: SqlDatabase, **wanted: object) -> list[int]:
    """The numbers of the entries that a request lists, page by page."""
    request, numbers = pb.ListAuditEntriesRequest(page_size=2, **wanted), []  # type: ignore[arg-type]
    while True:
        response = await AuditServicer(database).ListAuditEntries(request, None)  # type: ignore[arg-type]
        numbers += [int(one.name.removeprefix("auditEntries/")) for one in response.audit_entries]
        request.page_token = response.next_page_token
        if not request.page_token:
            return numbers


def at(number: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(NOW_US + number)
    return moment


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [7, 6, 5, 4, 3, 2, 1]),
        ({"account": "accounts/acme"}, [4, 3, 2, 1]),
        ({"principal": "person:ben"}, [3]),
        ({"resource": "accounts/acme"}, [4, 3, 2, 1]),
        ({"resource": "accounts/acme/services/chat"}, [2]),
        ({"resource": "accounts/acme/teams/search"}, [4]),
        ({"resource": "models/llama"}, [6]),
        ({"method": "a.B/C"}, [7]),
        ({"outcome": audit_entry_pb2.AUDIT_OUTCOME_DENIED}, [7]),
        ({"start_time": at(3), "end_time": at(6)}, [5, 4, 3]),
        ({"account": "accounts/acme", "principal": "person:ben", "end_time": at(3)}, []),
    ],
    ids=str,
)
async def test_every_filter_that_is_given_must_fit(
    database: SqlDatabase, wanted: dict[str, object], numbers: list[int]
) -> None:
    """The newest first, over pages; of a resource also what is within it, and nothing whose name only begins so."""
    await store(database)
    assert await listed(database, **wanted) == numbers


@pytest.mark.parametrize(
    ("rights", "numbers"),
    [
        (ALL_RIGHTS, [7, 6, 5, 4, 3, 2, 1]),
        (Rights((Right(Role.AUDITOR, Scope()),)), [7, 6, 5, 4, 3, 2, 1]),
        (Rights((Right(Role.OWNER, Scope("acme")),)), [4, 3, 2, 1]),
        (Rights((Right(Role.OWNER, Scope("acme")), Right(Role.OWNER, Scope("beta")))), [7, 4, 3, 2, 1]),
        (Rights((Right(Role.OWNER, Scope("acme", "search")),)), [4]),
        (Rights((Right(Role.VIEWER, Scope("acme")),)), []),
        (Rights(), []),
    ],
    ids=["operator", "auditor", "owner", "owner of two", "narrowed to a team", "viewer", "nobody"],
)
async def test_everybody_sees_what_they_may(database: SqlDatabase, rights: Rights, numbers: list[int]) -> None:
    """An owner the account's, whoever may read everything all, and a filter shows nothing more."""
    await store(database)
    set_caller(Caller("person:x", rights))
    assert await listed(database) == numbers
    assert await listed(database, resource="accounts/beta") == [number for number in numbers if number == 7]


async def test_a_page_token_is_of_its_own_list(database: SqlDatabase) -> None:
    """Another filter's, and none at all, are refused."""
    await store(database)
    servicer = AuditServicer(database)
    first = await servicer.ListAuditEntries(pb.ListAuditEntriesRequest(page_size=2), None)  # type: ignore[arg-type]
    for token in (first.next_page_token, "nonsense"):
        wrong = pb.ListAuditEntriesRequest(page_token=token, account="accounts/acme")
        with pytest.raises(InvalidRequestError, match="page_token"):
            await servicer.ListAuditEntries(wrong, None)  # type: ignore[arg-type]


def refused(number: int, count: int = 1) -> RefusedCalls:
    return RefusedCalls(
        NOW_US, f"person:{number}", "192.0.2.1", METHOD, "PERMISSION_DENIED", "accounts/acme", "acme", call_count=count
    )


async def test_refusals_are_written_as_levels(database: SqlDatabase) -> None:
    """Once or often, late or in another order: the greatest count holds, with what was said first."""
    first = replace(refused(1), request_json="{}")
    for calls in (first, refused(1, 7), refused(1, 7), refused(1, 3), refused(2)):
        async with database.writing() as tx:
            await tx.audit.count([entry_of_refusal(calls, "replica")])
    found = {one.source.principal: one for one in await stored(database)}
    assert {principal: one.call_count for principal, one in found.items()} == {"person:1": 7, "person:2": 1}
    assert found["person:1"] == replace(entry_of_refusal(first, "replica"), call_count=7)
    assert (found["person:1"].outcome, found["person:1"].account_id) == (AuditOutcome.DENIED, "acme")


async def test_a_flood_is_one_row_a_minute(database: SqlDatabase) -> None:
    """However often it is written meanwhile; the next minute has a row of its own."""
    counts = RefusalCounts()
    log = RefusalLog(database, counts, "replica")
    for number in range(10_000):
        counts.note(refused(1))
        if number % 2_500 == 0:
            await log.write()
    counts.note(replace(refused(1), first_us=NOW_US + MINUTE_US))
    await log.write()
    assert [one.call_count for one in await stored(database)] == [1, 10_000]
    assert counts.untold(1) == []


async def test_each_replica_counts_for_itself(database: SqlDatabase) -> None:
    """Neither writes over the other's count."""
    for writer in ("one", "two"):
        counts = RefusalCounts()
        counts.note(refused(1))
        await RefusalLog(database, counts, writer).write()
    assert len(await stored(database)) == 2


async def test_what_could_not_be_written_waits(database: SqlDatabase, engine: AsyncEngine) -> None:
    """A database that is away for a while costs nothing of what was counted."""
    counts, broken = RefusalCounts(), Broken(engine)
    log = RefusalLog(broken, counts, "replica")
    for number in range(BATCH_SIZE + 1):
        counts.note(refused(number))
    broken.away = True
    with pytest.raises(StorageUnavailableError):
        await log.write()
    assert await stored(database) == []
    broken.away = False
    counts.note(refused(0))
    await log.write()
    found = await stored(database)
    assert len(found) == BATCH_SIZE + 1
    assert sum(one.call_count for one in found) == BATCH_SIZE + 2


class Broken(SqlDatabase):
    """A database that may be away."""

    away = False

    def writing(self):  # type: ignore[no-untyped-def]  # noqa: ANN201  # as the real one
        if self.away:
            raise StorageUnavailableError
        return super().writing()


async def test_a_node_tells_of_refusals_with_its_exchange(kit: Kit) -> None:
    """What it repeats, because an answer was lost, counts once; an exchange that is not taken writes nothing."""
    node = await kit.node()
    before = len(await stored(kit.database))

    async def exchange(number: int, *calls: RefusedCalls) -> None:
        version = kit.memory.history.expected(kit.clock.monotonic_ns())
        await kit.exchange.exchange(ExchangeRequest(node.name, node.epoch, number, version, (), refused=calls))

    await exchange(1, refused(1))
    await exchange(2, refused(1, 4), refused(2))
    with pytest.raises(SupersededError):
        await exchange(2, refused(3))
    found = (await stored(kit.database))[: -before or None]
    assert {one.source.principal: one.call_count for one in found} == {"person:1": 4, "person:2": 1}
    assert {one.node for one in found} == {node.name}


async def test_entries_go_when_they_are_old(kit: Kit) -> None:
    """To the last microsecond of 400 days, in parts; the log's newest entries stay."""
    await store(kit.database, [replace(entry(number), event_us=kit.now_us) for number in range(PURGE_SIZE + 1)])
    kit.clock.advance(us=USUAL.audit * DAY_US)
    await kit.sweeper.tick()
    assert len(await stored(kit.database)) == PURGE_SIZE + 1
    await store(kit.database, [replace(entry(9_999), event_us=kit.now_us)])
    kit.clock.advance(us=PERIOD_NS // 1_000)
    await kit.sweeper.tick()
    assert len(await stored(kit.database)) == 2
    await kit.sweeper.tick()
    assert [one.entry_id for one in await stored(kit.database)] == ["9999"]
