"""A database that was restored from an older copy is refused, and `tallygate recover` puts things right."""

import asyncio

import grpc

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import Said, tallygate
from tests.harness.programs.one_service import assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair, until_said
from tests.harness.programs.sqlite_copy import put_back, save


async def meter_soon(pair: Pair, request_id: str) -> int:
    """As `meter_one`, on a node that begins a new epoch just now."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await meter_one(pair.metering, request_id)
            except grpc.aio.AioRpcError as error:
                # A server that stops cancels the calls that do not end in time.
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise
            await asyncio.sleep(0.1)


async def recover(pair: Pair) -> Said:
    """Run the command as people do."""
    where = ("--control", pair.control.address, "--metering", pair.metering.address)
    return await asyncio.to_thread(tallygate, "recover", "--yes", "--json", *where)


async def test_a_control_database_from_an_older_copy_is_refused_until_recovered(pair: Pair) -> None:
    """Everything consumed since the copy is booked; the books are exact, and the node serves again by itself."""
    path = pair.directory / "control.sqlite3"
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    await asyncio.to_thread(save, path)
    costs += [await meter_one(pair.metering, f"r{number}") for number in range(5)]
    await pair.metering.stop()
    await pair.start_node("node-1", pair.metering.address)
    costs.append(await meter_one(pair.metering, "restarted"))
    await pair.control.kill()
    put_back(path)
    await pair.start_control(pair.control.address)
    await until_said(pair.metering.log, "it is another one, or was restored from an older copy")

    said = await recover(pair)

    assert said.status == 0, said.err
    (booked,) = said.json["booked"]
    assert booked["account"] == "accounts/acme"
    assert booked["units"] >= sum(costs[1:-1])
    costs.append(await meter_soon(pair, "after"))
    again = await recover(pair)
    assert (again.status, again.json["unknown_leases"]) == (0, [])
    costs.append(await meter_soon(pair, "once-more"))
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


async def test_a_metering_database_from_an_older_copy_is_refused_until_recovered(pair: Pair) -> None:
    """Its lost records stay paid for, and nothing is paid for twice."""
    path = pair.directory / "metering.sqlite3"
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    await asyncio.to_thread(save, path)
    costs.append(await meter_one(pair.metering, "lost"))
    address = pair.metering.address
    await pair.metering.stop()
    put_back(path)
    starting = asyncio.create_task(pair.start_node("node-1", address))
    await until_said(pair.metering.log, "The metering database does not know of commit")

    said = await recover(pair)

    assert said.status == 0, said.err
    await starting
    costs.append(await meter_soon(pair, "after"))
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


def _is_refused_or_serves(log: str) -> bool:
    """Whether the node's second start was refused, or went well."""
    return "older copy" in log or log.count('"event": "serving"') > 1


async def test_both_databases_from_copies_go_on_from_there(pair: Pair) -> None:
    """The machine was lost. Control was copied first: what it lacks is on record in the other copy, and is booked."""
    control, metering = pair.directory / "control.sqlite3", pair.directory / "metering.sqlite3"
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    await asyncio.to_thread(save, control)
    costs.append(await meter_one(pair.metering, "between"))
    await asyncio.to_thread(save, metering)
    await meter_one(pair.metering, "lost")
    address = pair.metering.address
    await pair.metering.kill()
    await pair.control.kill()
    put_back(control)
    put_back(metering)
    await pair.start_control(pair.control.address)
    starting = asyncio.create_task(pair.start_node("node-1", address))
    # Whether control lacks a lease, or only what was consumed on one, depends on what was exchanged before its copy.
    async with asyncio.timeout(PATIENCE_S):
        while not _is_refused_or_serves(await asyncio.to_thread(pair.metering.log.read_text)):  # noqa: ASYNC110  # a log
            await asyncio.sleep(0.1)

    said = await recover(pair)

    assert said.status == 0, said.err
    await starting
    costs.append(await meter_soon(pair, "after"))
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))
