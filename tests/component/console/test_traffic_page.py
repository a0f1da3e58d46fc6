"""The page of traffic: rates are differences of what nodes say, second by second."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from tallygate.metering.v1.node_traffic_pb2 import NodeTraffic
from tallygate.metering.v1.usage_bucket_pb2 import PayerTokens
from tests.harness.console.console_harness import NOWHERE, Browser, site_of
from tests.harness.console.metered_stage import MeteredStage, metered_stage, rows_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "/traffic"
DASH = "\u2013"
"""Dash where there is no figure."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeteredStage]:
    """Two nodes."""
    async with metered_stage(tmp_path_factory.mktemp("traffic"), node_count=2) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def operator(stage: MeteredStage) -> Browser:
    """Somebody who looks for the first time."""
    stage.clock.advance(60)
    for node, name in zip(stage.nodes.values(), ("a", "b"), strict=True):
        node.traffic = traffic(name, 100)
    return await stage.signed_in("olga")


def traffic(
    name: str, seconds: int, billed: int = 0, trial: int = 0, denied: int = 0, *, epoch: int = 1, ns: int = 0
) -> NodeTraffic:
    return NodeTraffic(
        node=name,
        epoch=epoch,
        running_for=Duration(seconds=seconds, nanos=ns),
        payers=PayerTokens(billed_tokens=billed, trial_tokens=trial),
        booked_request_count=billed // 10,
        grant_count=billed // 5,
        denial_counts={"TOKEN_RATE": denied},
        open_request_count=3,
        open_stream_count=2,
    )


def say(stage: MeteredStage, *said: NodeTraffic, seconds: int = 1) -> None:
    stage.clock.advance(seconds)
    for node, one in zip(stage.nodes.values(), said, strict=True):
        node.traffic = one


async def node_rows(browser: Browser) -> dict[str, list[str]]:
    rows = rows_of((await browser.get(PAGE)).text)
    return {row[0].partition(" ")[0]: row[1:] for row in rows if len(row) == 12 and row[0] != "Node"}


async def test_rates_are_differences_over_the_nodes_own_time(stage: MeteredStage, operator: Browser) -> None:
    """Of each node, and of all together by payer, rounded down to whole tokens."""
    assert (await node_rows(operator))["a"][0] == DASH
    say(stage, traffic("a", 101, billed=1_000, denied=4), traffic("b", 102, trial=500))
    page = await operator.get(PAGE)
    rows = {row[0].partition(" ")[0]: row[1:] for row in rows_of(page.text) if len(row) == 12}
    assert (rows["a"][:5], rows["b"][:5]) == (["1,000", "100", "3", "2", "0"], ["250", "0", "3", "2", "0"])
    assert "<dt>Denied: token rate</dt><dd>4 a second</dd>" in page.text
    assert "<dt>All</dt><dd><strong>1,250</strong>" in page.text
    assert "<dt>Pay as you go</dt><dd>1,000</dd>" in page.text
    assert "<dt>Grants</dt><dd>200 a second</dd>" in page.text
    assert "<title>0 s ago: Free trial 250</title>" in page.text


async def test_another_epoch_begins_at_zero(stage: MeteredStage, operator: Browser) -> None:
    """No rate is worked out across it."""
    say(stage, traffic("a", 101, billed=1_000), traffic("b", 101))
    await operator.get(PAGE)
    say(stage, traffic("a", 0, billed=3, epoch=2), traffic("b", 102, billed=70))
    rows = await node_rows(operator)
    assert (rows["a"][0], rows["b"][0]) == (DASH, "70")


async def test_several_who_look_at_once_make_no_shorter_seconds(stage: MeteredStage, operator: Browser) -> None:
    """What is read in between is shown, and not kept."""
    await operator.get(PAGE)
    before = len(list(site_of(stage.app).traffic.seconds()))
    for ms in range(1, 5):
        stage.clock.advance(us=100_000)
        for node, name in zip(stage.nodes.values(), ("a", "b"), strict=True):
            node.traffic = traffic(name, 100, ns=ms * 100_000_000)
        await operator.get(PAGE)
    assert len(list(site_of(stage.app).traffic.seconds())) == before


async def test_a_minute_is_kept_and_a_pause_begins_anew(stage: MeteredStage, operator: Browser) -> None:
    """A node that nobody asked for a while has no rate of that time."""
    log = site_of(stage.app).traffic
    for second in range(1, 80):
        say(stage, traffic("a", 100 + second), traffic("b", 100 + second))
        await operator.get(PAGE, params={"part": "figures"})
    assert len(list(log.seconds())) == 60
    say(stage, traffic("a", 1_000), traffic("b", 1_000), seconds=60)
    await operator.get(PAGE)
    assert list(log.seconds()) == []


async def test_only_who_reads_operations_sees_it(stage: MeteredStage, operator: Browser) -> None:
    """Nobody else is shown the way there, or what others have read."""
    say(stage, traffic("a", 101, billed=98_765), traffic("b", 101))
    await operator.get(PAGE)
    assert f'href="{PAGE}"' in (await operator.get("/accounts/acme/usage")).text
    for name in ("vera", "rita", "otto"):
        browser = await stage.signed_in(name)
        refused = await browser.get(PAGE)
        assert refused.status_code == 403
        assert "OPERATIONS_READ" in refused.text
        assert "98,765" not in refused.text
        assert f'href="{PAGE}"' not in refused.text


async def test_nobody_else_sees_it_while_all_nodes_are_away(stage: MeteredStage, operator: Browser) -> None:
    """None of them refuses anybody then; who reads operations still sees what was read."""
    await operator.get(PAGE)
    say(stage, traffic("a", 101, billed=98_765), traffic("b", 101))
    assert "98,765" in (await operator.get(PAGE)).text
    otto = await stage.signed_in("otto")
    lines = [site_of(stage.app).metering.alone(address)._lines[0] for address in stage.nodes]
    channels = [line._channel for line in lines]
    for line in lines:
        line._channel = grpc.aio.insecure_channel(NOWHERE)
    try:
        for params in ({}, {"part": "figures"}):
            refused = await otto.get(PAGE, params=params)
            assert (refused.status_code, "98,765" in refused.text) == (403, False)
            assert "98,765" in (await operator.get(PAGE, params=params)).text
    finally:
        for line, channel in zip(lines, channels, strict=True):
            line._channel = channel
    assert "does not answer" not in (await operator.get(PAGE)).text


async def test_a_node_that_is_away_is_said_once(
    stage: MeteredStage, operator: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """On the page each time, with the others as ever; in the log when it begins, though it is asked every second."""
    link = site_of(stage.app).metering.alone(list(stage.nodes)[1])
    (line,) = link._lines
    channel, line._channel = line._channel, grpc.aio.insecure_channel(NOWHERE)
    try:
        for _ in range(3):
            say(stage, traffic("a", 101), traffic("b", 101))
            page = await operator.get(PAGE, params={"part": "figures"})
            assert page.status_code == 200
            assert f"The metering service at {link.addresses[0]} does not answer." in page.text
            assert "a " in {row[0][:2] for row in rows_of(page.text)}
    finally:
        line._channel = channel
    assert sum("does not answer" in record.message for record in caplog.records) == 1
    say(stage, traffic("a", 102), traffic("b", 102))
    assert "does not answer" not in (await operator.get(PAGE)).text
