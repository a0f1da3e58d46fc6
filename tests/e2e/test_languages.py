"""The examples in TypeScript and Go, and the programs of the contract's page, against the real services."""

import asyncio
import sys
from pathlib import Path

import pytest

from tallygate.metering.v1 import request_usage_pb2
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.languages import (
    BUILD_S,
    INSTALL_S,
    ROOT,
    Built,
    build,
    built_go,
    built_typescript,
    local,
    page_program,
)
from tests.harness.programs.one_service import SERVICE, enable, meter_one, recorded
from tests.harness.programs.programs import Pair
from tests.harness.programs.tls_fleet import tls_fleet
from tests.harness.wire.fake_metering import FakeMetering, FakeStream, serving

# The first test of a language waits until its example is built.
pytestmark = pytest.mark.hang_limit(INSTALL_S + BUILD_S + 300)

FINISHED = request_usage_pb2.SETTLEMENT_STATE_FINISHED
PAGE_COST_NANOS = 812 * 1_000 + 131 * 2_000


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_typescript(tmp_path_factory.mktemp("typescript"))


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_go(tmp_path_factory.mktemp("go"))


@pytest.fixture(params=["typescript", "go"])
def built(request: pytest.FixtureRequest) -> Built:
    """The example in each language."""
    example: Built = request.getfixturevalue(request.param)
    return example


async def test_the_example_is_refused_with_the_reason_then_metered_to_the_token(built: Built, pair: Pair) -> None:
    """An id that was used is a no, not an error; an allowed request's counts are on record when it ends."""
    address = pair.metering.address
    await enable(pair)
    await meter_one(pair.metering, "first")  # from here on the node allows
    async with built.meter(address, SERVICE, "first", "100") as example:
        assert (await example.says()).startswith("denied: REQUEST_ID_REUSED: ")
        assert await asyncio.wait_for(example.process.wait(), PATIENCE_S) == 1
    async with built.meter(address, SERVICE, "metered", "100") as example:
        tokens, free = 0, await example.allowed()
        while tokens < 1_000:
            tokens = min(tokens + free, 1_000)
            free = await example.generate(tokens)
        assert await example.finish() == ("receipt: 100 input and 1000 output tokens, 2100000 nanos", 0)
    (part,) = await recorded(pair.metering, "metered")
    assert part.state == FINISHED
    assert (part.usage.input_tokens, part.usage.output_tokens) == (100, 1_000)
    assert (part.receipt.cost_nanos, part.receipt.overrun_tokens) == (2_100_000, 0)


async def test_the_example_goes_on_with_another_node(built: Built, pair: Pair) -> None:
    """Its node is killed while it generates: the other one takes the request on, and has its finish on record."""
    await enable(pair)
    second = await pair.start_node("node-2")
    await meter_one(pair.metering, "first")
    await meter_one(second, "second")
    async with built.meter(f"{pair.metering.address},{second.address}", SERVICE, "moves", "100") as example:
        assert await example.allowed() > 10
        assert await example.generate(5) > 5
        await pair.metering.kill()
        await example.generate(10)
        last, code = await example.finish()
        assert last.startswith("receipt: ")
        assert code == 0
    parts = await recorded(second, "moves")
    assert [(part.node, part.state) for part in parts if part.node == "node-2"] == [("node-2", FINISHED)]


async def _stream(node: FakeMetering, number: int) -> FakeStream:
    """The stream of this number, once something has been said on it."""
    await until(lambda: len(node.streams) == number and node.streams[-1].reports)
    return node.streams[-1]


@pytest.mark.parametrize("handles_max", [0, 8])
async def test_the_example_says_progress_in_columns_where_a_node_takes_them(built: Built, handles_max: int) -> None:
    """A node that holds it to the contract gets entries once it has offered them, on each stream anew, else reports."""
    node = FakeMetering()
    node.handles_max = handles_max
    tokens = 0
    async with serving(node), built.meter(node.address, SERVICE, "columns", "100") as example:
        await example.allowed()
        for number in (1, 2):
            stream = await _stream(node, number)
            while len(stream.reports) < 4 or (handles_max and not stream.model.entries):
                tokens += 60
                await example.generate(tokens)
            stream.hang_up()
        last, code = await example.finish()
    assert (last, code) == (f"receipt: 100 input and {tokens} output tokens, 7 nanos", 0)
    assert not node.wrong
    assert handles_max or not any(stream.model.entries for stream in node.streams)


async def test_the_example_proves_who_it_is(built: Built, tmp_path: Path) -> None:
    """It meters by TLS with a certificate and a token; a token that nobody has is refused, whatever the certificate."""
    async with tls_fleet(tmp_path) as fleet:
        fleet.open_shop()
        token_file, files = fleet.meter_token(), {}
        for variable, name in (("CA", "ca"), ("CERT", "meter"), ("KEY", "meter-key")):
            files[f"TALLYGATE_{variable}"] = fleet.file(name)
        known = {**files, "TALLYGATE_TOKEN_FILE": str(token_file)}
        address = fleet.node.mtls_address
        async with built.meter(address, SERVICE, "proved", "100", variables=known) as example:
            assert await example.allowed() > 10
            await example.generate(10)
            assert await example.finish() == ("receipt: 100 input and 10 output tokens, 0 nanos", 0)
        await asyncio.to_thread(fleet.until_remain, "49,890")
        token_file.write_text("nonsense")
        async with built.meter(address, SERVICE, "unproved", "100", variables=known) as example:
            assert "This is no access token of Tallygate" in await example.says()
            assert await asyncio.wait_for(example.process.wait(), PATIENCE_S) == 1


async def test_the_page_works_as_written_in_python(pair: Pair) -> None:
    """The Python program of the contract's page meters one request and prints its receipt."""
    await enable(pair)
    await meter_one(pair.metering, "first")
    program = local(page_program("python"), pair.metering.address)
    printed = await asyncio.to_thread(build, ROOT, (sys.executable, "-c", program))
    assert printed.endswith(f"131 output tokens, {PAGE_COST_NANOS} nanos\n")


async def test_the_page_works_as_written_in_other_languages(built: Built, pair: Pair) -> None:
    """And so do the programs that stand beside it."""
    await enable(pair)
    await meter_one(pair.metering, "first")
    printed = await asyncio.to_thread(built.run_page, pair.metering.address)
    assert printed.endswith(f"131 output tokens, {PAGE_COST_NANOS} nanos\n")


def test_buf_generates_the_whole_contract(typescript: Built, go: Built, tmp_path: Path) -> None:
    """The template at the top, as it is, writes stubs of both packages for both languages."""
    build(ROOT, ("buf", "generate", "--output", str(tmp_path)))
    stubs = {path.relative_to(tmp_path / "gen").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    for package, service in (("control", "account_service"), ("metering", "metering_service")):
        assert f"typescript/tallygate/{package}/v1/{service}.ts" in stubs
        assert f"go/tallygate/{package}/v1/{service}_grpc.pb.go" in stubs
