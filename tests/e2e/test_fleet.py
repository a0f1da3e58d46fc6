"""Several metering nodes, nodes that crash, and programs that cannot start."""

import asyncio
from importlib.metadata import version
from pathlib import Path

import pytest

from metering_service import IS_COMPILED
from tests.harness.programs import programs
from tests.harness.programs.health import METERING, until_ready
from tests.harness.programs.one_service import BOTH, assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair


@BOTH
async def test_two_nodes_spend_one_balance(pair: Pair) -> None:
    """Nodes over one database serve the same service at once; after both have left, the balance is exact."""
    await enable(pair)
    second = await pair.start_node("node-2")
    costs = await asyncio.gather(*(meter_one(node, f"r-{node.pid}") for node in (pair.metering, second)))
    assert costs == [100_000, 100_000]
    await second.stop()
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


@BOTH
async def test_a_killed_node_comes_back_and_nothing_is_lost(pair: Pair) -> None:
    """What a node had answered for before it was killed is booked after its return, once."""
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    await pair.metering.kill()
    node = await pair.start_node("node-1")
    costs.append(await meter_one(node, "after"))
    await node.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


async def test_a_node_serves_on_while_control_restarts(pair: Pair) -> None:
    """A node goes on with what it has on lease, and finds the control service again at its address."""
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    address = pair.control.address
    await pair.control.stop()
    costs.append(await meter_one(pair.metering, "during"))
    await pair.start_control(listen=address)
    costs.append(await meter_one(pair.metering, "after"))
    # A node that stops while it has no control is not waited for: what it consumed is then told by its next start.
    await until_ready(pair.metering, {METERING: True})
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


async def test_the_log_says_first_which_build_runs(pair: Pair) -> None:
    """Version of both programs, and of the node whether its decisions are compiled."""
    build = "compiled" if IS_COMPILED else "pure"
    lines = [line for each in (pair.control, pair.metering) for line in each.logged()]
    said = [(line["event"], line["version"], line.get("build")) for line in lines if "version" in line]
    assert said == [("serving", version("tallygate"), "pure"), ("starting", version("tallygate"), build)]


@pytest.mark.parametrize(
    ("module", "arguments", "sentence"),
    [
        ("control_service", ["--listen", "0.0.0.0:0"], "without TLS"),
        ("metering_service", ["--listen", "127.0.0.1"], "write HOST:PORT"),
        ("control_service", ["--database-url", "mysql://h/d"], "write sqlite:///PATH"),
        ("metering_service", ["--database-url", "postgresql://u:secret@127.0.0.1:1/d"], "does not answer"),
    ],
)
async def test_what_keeps_a_program_from_starting_is_one_sentence(
    module: str, arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    """Wrong options and an unreachable database end it, and its last line says what to do."""
    log = tmp_path / "log"
    with pytest.raises(AssertionError, match=module):
        await programs.start(module, ["--data-dir", str(tmp_path), "--log-format", "text", *arguments], log)
    text = log.read_text()
    assert sentence in text.splitlines()[-1]
    assert "Traceback" not in text
    assert "secret" not in text


async def test_a_node_with_another_metering_database_is_refused(pair: Pair, tmp_path: Path) -> None:
    """It would split the fleet's books in two: it ends, and its last line says why."""
    pair.metering_database_url = f"sqlite:///{tmp_path}/another.sqlite3"
    with pytest.raises(AssertionError, match="metering_service"):
        await pair.start_node("node-2")
    text = (tmp_path / "node-2.log").read_text()
    assert "The control service refused this node" in text.splitlines()[-1]
    assert "Traceback" not in text
