"""A SQLite file that is moved away under a running service: nothing in it may be called durable."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tallygate.client import MeteringClient
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.health import ACCOUNTS, METERING, USAGE, until_ready
from tests.harness.programs.one_service import SERVICE, assert_balance, balance_nanos, enable, meter_one
from tests.harness.programs.programs import Pair
from tests.harness.programs.requests import begun

WAITS_S = 1.0


@pytest.mark.parametrize("other", [False, True])
async def test_no_receipt_is_durable_in_a_metering_file_without_a_name(pair: Pair, *, other: bool) -> None:
    """The node lives and is not ready, receipts wait, one sentence says why; with the file's return all is durable."""
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    path = pair.directory / "metering.sqlite3"
    async with MeteringClient([pair.metering.address], settings=PATIENT) as client:
        request = await begun(client, SERVICE, request_id="running", input_tokens=100)
        away = move_away(path, other=other)
        request.output(5)
        request.finish(want_receipt=True)
        wait = asyncio.create_task(request.wait_recorded())
        await until_ready(pair.metering, {"": True, METERING: False, USAGE: False})
        done, _ = await asyncio.wait([wait], timeout=WAITS_S)
        assert not done
        away.rename(path)
        async with asyncio.timeout(PATIENCE_S):
            receipt = await wait
        assert receipt is not None
        costs.append(receipt.cost_nanos)
    await until_ready(pair.metering, {METERING: True, USAGE: True})
    sentence = "another file than the one in use is at" if other else "was moved or deleted while in use; put it back"
    assert sentence in pair.metering.log.read_text()
    assert costs == [100_000, 110_000]
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


@pytest.mark.parametrize("other", [False, True])
async def test_control_is_not_ready_without_its_file(pair: Pair, *, other: bool) -> None:
    """It answers nothing out of a file that has no name, and goes on when it is put back."""
    await enable(pair)
    path = pair.directory / "control.sqlite3"
    away = move_away(path, other=other)
    await until_ready(pair.control, {"": True, ACCOUNTS: False})
    assert path.exists() == other
    away.rename(path)
    await until_ready(pair.control, {"": True, ACCOUNTS: True})
    assert await balance_nanos(pair) == 5_000_000_000
    await meter_one(pair.metering, "after")


def move_away(path: Path, *, other: bool) -> Path:
    """Where the file is now; `other`: a copy of it is in its place, which was never empty."""
    away = path.with_suffix(".away")
    if other:
        away.hardlink_to(path)
        copy = path.with_suffix(".copy")
        shutil.copy(path, copy)
        copy.replace(path)
        return away
    return path.rename(away)
