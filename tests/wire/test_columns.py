"""Progress in columns on a real node: what is wrong is said by number, and nothing else in the message is harmed."""

from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
import pytest_asyncio

from metering_service.domain.counts import Counts
from metering_service.domain.report import HANDLES_MAX, TOKENS_MAX, Phase
from tallygate.metering.v1 import decision_pb2
from tallygate.metering.v1.columns_pb2 import ProgressColumns
from tallygate.metering.v1.metering_service_pb2 import MeterRequest
from tests.harness.metering.encoded_reports import encode_report
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_trial
from tests.harness.wire.metering_node import NodeServing, RawStream, serving_node

INPUT = Counts(10)
INVALID = decision_pb2.DECISION_REASON_INVALID_REPORT
NAMES = ("r1", "r2", "r3")
"""Requests by their handles: 1, 2 and 3."""


@pytest_asyncio.fixture
async def it() -> AsyncIterator[NodeServing]:
    """A node that knows a service with a trial, and has some of it on lease."""
    fleet = Fleet()
    with_trial(fleet, 1_000_000_000)
    warm = Client(fleet["a"])
    warm.say(report(Phase.AUTHORIZE, "warm", Counts(1)))
    warm.say(report(Phase.FINISH, "warm", Counts(1)))
    async with serving_node(fleet["a"]) as serving:
        yield serving


@pytest_asyncio.fixture
async def stream(it: NodeServing) -> RawStream:
    """A stream of which reports 1 to 3 have bound three requests."""
    stream = it.stream()
    bound = [report(Phase.AUTHORIZE, name, INPUT, handle=handle) for handle, name in enumerate(NAMES, 1)]
    await stream.send(MeterRequest(first_sequence=1, reports=map(encode_report, bound)))
    assert [one.reason for one in await stream.until_answered(3)] == [0, 0, 0]
    assert stream.responses[0].columns_handles_max == HANDLES_MAX
    return stream


def columns(handles: Sequence[int], output: Sequence[int], reasoning: Sequence[int] = ()) -> ProgressColumns:
    return ProgressColumns(handles=handles, output_tokens=output, reasoning_tokens=reasoning)


def said(it: NodeServing) -> list[Counts]:
    """What is counted of the three requests beyond their input, which only counts once output does."""
    running = it.rig.node.services[SERVICE].open
    return [running[name].counts._replace(input=0) for name in NAMES]


def outputs(*output: int) -> list[Counts]:
    return [Counts(output=tokens) for tokens in output]


async def refused(stream: RawStream, through: int) -> list[tuple[int, str]]:
    """Number and sentence of all reports from the fourth on that are invalid; nothing else was denied."""
    denied = [one for one in await stream.until_answered(through) if one.reason]
    assert {one.reason for one in denied} <= {INVALID}
    return [(one.sequence, one.message) for one in denied]


@pytest.mark.parametrize(
    ("sent", "wrong", "output"),
    [
        (columns([1, 2, 7], [5, 6, 7]), (6, "handle 7 is not bound."), (5, 6, 0)),
        (columns([0, 1, 3], [5, 6, 7]), (4, "handle 0 is not bound."), (6, 0, 7)),
        (columns([-(2**31), 1, 3], [5, 6, 7]), (4, "handle -2147483648 is not bound."), (6, 0, 7)),
        (columns([1, 3, 2**31 - 1], [5, 6, 7]), (6, "handle 2147483647 is not bound."), (5, 0, 6)),
        (columns([1, 3, 2], [5, 6, 7]), (6, "handles do not ascend"), (5, 0, 6)),
        (columns([2, 2, 3], [5, 6, 7]), (5, "handles do not ascend"), (0, 5, 7)),
        (columns([1, 2, 3], [5, -6, 7]), (5, "usage has a negative count"), (5, 0, 7)),
        (columns([1, 2, 3], [5, -(2**31), 7]), (5, "usage has a negative count"), (5, 0, 7)),
        (columns([1, 2, 3], [5, TOKENS_MAX + 1, 7]), (5, "usage has a count above 100,000,000"), (5, 0, 7)),
        (columns([1, 2, 3], [5, 2**31 - 1, 7]), (5, "usage has a count above 100,000,000"), (5, 0, 7)),
        (columns([1, 2, 3], [5, 6, 7], [0, -1, 0]), (5, "usage has a negative count"), (5, 0, 7)),
        (columns([1, 2, 3], [5, 6, 7], [0, 2**31 - 1, 0]), (5, "usage has a count above 100,000,000"), (5, 0, 7)),
    ],
)
async def test_an_invalid_entry_is_answered_by_number_and_harms_no_other(
    it: NodeServing, stream: RawStream, sent: ProgressColumns, wrong: tuple[int, str], output: tuple[int, ...]
) -> None:
    """Its neighbours count, and so does the report that comes in the same message."""
    beside = encode_report(report(Phase.AUTHORIZE, "beside", INPUT))
    await stream.send(MeterRequest(first_sequence=4, columns=sent, reports=[beside]))
    ((number, why),) = await refused(stream, 7)
    assert number == wrong[0]
    assert why.startswith(wrong[1])
    assert said(it) == outputs(*output)
    assert "beside" in it.rig.node.services[SERVICE].open


@pytest.mark.parametrize(
    "sent",
    [
        columns([1, 2, 3], [5, 6]),
        columns([1, 2, 3], [5, 6, 7, 8]),
        columns([1, 2, 3], []),
        columns([1, 2, 3], [5, 6, 7], [1]),
        columns([1, 2, 3], [5, 6, 7], [1, 1, 1, 1]),
    ],
)
async def test_of_uneven_columns_nothing_is_taken(it: NodeServing, stream: RawStream, sent: ProgressColumns) -> None:
    """Their last number is answered; the report of the same message and the columns of the next one count."""
    beside = encode_report(report(Phase.PROGRESS, "r3", INPUT._replace(output=4)))
    await stream.send(MeterRequest(first_sequence=4, columns=sent, reports=[beside]))
    assert [number for number, _ in await refused(stream, 7)] == [6]
    assert said(it) == outputs(0, 0, 4)
    await stream.send(MeterRequest(first_sequence=8, columns=columns([1, 2, 3], [5, 6, 7])))
    assert len(await refused(stream, 10)) == 1
    assert said(it) == outputs(5, 6, 7)


async def test_a_handle_of_one_stream_means_nothing_on_another(it: NodeServing, stream: RawStream) -> None:
    """The other stream binds it to a request of its own, and neither harms the other."""
    other = it.stream()
    await other.send(MeterRequest(first_sequence=1, columns=columns([1, 2, 3], [50, 60, 70])))
    assert [number for number, _ in await refused(other, 3)] == [1, 2, 3]
    assert said(it) == outputs(0, 0, 0)
    theirs = encode_report(report(Phase.AUTHORIZE, "theirs", INPUT, handle=2))
    await other.send(MeterRequest(first_sequence=4, reports=[theirs]))
    await other.until_answered(4)
    await other.send(MeterRequest(first_sequence=5, columns=columns([2], [9])))
    await stream.send(MeterRequest(first_sequence=4, columns=columns([1, 2], [3, 4])))
    await other.until_answered(5)
    await stream.until_answered(5)
    assert said(it) == outputs(3, 4, 0)
    assert it.rig.node.services[SERVICE].open["theirs"].counts.output == 9


async def test_a_report_of_another_stream_leaves_the_handle_what_it_is(it: NodeServing, stream: RawStream) -> None:
    """The request goes along with whoever spoke last; entries speak of it still, and of its counts no less is known."""
    other = it.stream()
    moved = report(Phase.PROGRESS, "r2", INPUT._replace(output=20))
    await other.send(MeterRequest(first_sequence=1, reports=[encode_report(moved)]))
    await other.until_answered(1)
    await stream.send(MeterRequest(first_sequence=4, columns=columns([1, 2, 3], [5, 6, 7])))
    assert await refused(stream, 6) == []
    assert said(it) == outputs(5, 20, 7)


async def test_too_many_entries_end_the_stream_by_a_sentence(stream: RawStream) -> None:
    """Entries and reports count together."""
    handles = range(1, 4_097)
    beside = encode_report(report(Phase.PROGRESS, "r3", INPUT))
    await stream.send(MeterRequest(first_sequence=4, columns=columns(handles, handles), reports=[beside]))
    with pytest.raises(grpc.aio.AioRpcError, match="more than 4,096 in one message") as caught:
        await stream.until_answered(1 << 60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
