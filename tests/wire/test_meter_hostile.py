"""What no inference server in its right mind would send on a Meter stream, and what is too much for one message."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from metering_service.api.meter_response import RESPONSE_BYTES_MAX
from metering_service.domain.counts import Counts
from metering_service.domain.key_ring import TOKEN_BYTES_MAX
from metering_service.domain.report import Phase, Report
from metering_service.usecases.lookups.lookups import every
from tallygate.metering.v1 import decision_pb2, token_usage_pb2
from tallygate.metering.v1.columns_pb2 import ProgressColumns
from tallygate.metering.v1.metering_service_pb2 import MeterRequest, MeterResponse
from tallygate.metering.v1.report_pb2 import TokenReport
from tests.harness.metering.encoded_reports import encode_report
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, stopped, with_trial
from tests.harness.wire.metering_node import NodeServing, RawStream, serving_node

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
INVALID, ALLOW = decision_pb2.DECISION_REASON_INVALID_REPORT, decision_pb2.DECISION_REASON_UNSPECIFIED
STOPPED = decision_pb2.DECISION_REASON_POSTPAID_DISABLED
NOT_UTF8 = b"d\xfff"


@pytest_asyncio.fixture
async def it() -> AsyncIterator[NodeServing]:
    """A node that knows a service with a trial, and has some of it on lease."""
    fleet = Fleet()
    with_trial(fleet, 1_000_000_000)
    warm = Client(fleet["a"])
    warm.say(report(AUTHORIZE, "warm", Counts(1)))
    warm.say(report(FINISH, "warm", Counts(1)))
    async with serving_node(fleet["a"]) as serving:
        yield serving


def message(first: int, *reports: Report | TokenReport | bytes) -> bytes:
    """A MeterRequest; what is given as bytes stands in it as a report."""
    wire = [
        one if isinstance(one, TokenReport) else encode_report(one) for one in reports if not isinstance(one, bytes)
    ]
    encoded = iter([one.SerializeToString() for one in wire])
    bodies = [one if isinstance(one, bytes) else next(encoded) for one in reports]
    head = MeterRequest(first_sequence=first).SerializeToString()
    return head + b"".join(b"\x12" + varint(len(body)) + body for body in bodies)


def varint(number: int) -> bytes:
    rest, low = divmod(number, 128)
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def spoiled(**fields: object) -> bytes:
    """A report as bytes, in which the text `dXf` is not UTF-8."""
    values = {"request_id": "bad", "service": SERVICE, "phase": AUTHORIZE.value} | fields
    encoded = TokenReport(**values).SerializeToString()  # type: ignore[arg-type]  # fields by name
    assert b"dXf" in encoded
    return encoded.replace(b"dXf", NOT_UTF8)


def authorize(request_id: str) -> Report:
    return report(AUTHORIZE, request_id, Counts(1))


async def status_of(stream: RawStream) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.until_answered(1 << 60)
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize(
    ("bad", "field", "echoed"),
    [
        (spoiled(request_id="dXf"), "request_id", "d\ufffdf"),
        (spoiled(service="dXf"), "service", "bad"),
        (spoiled(credential="dXf"), "credential", "bad"),
        (spoiled(source_address="dXf"), "source_address", "bad"),
        (spoiled(labels={"dXf": "v"}), "labels[0].key", "bad"),
        (spoiled(labels={"k": "dXf"}), "labels[0].value", "bad"),
        (b"\x0a\x7f", "This report", ""),
        (b"\xff\xff\xff", "This report", ""),
        (encode_report(authorize("bad")).SerializeToString()[:-1], "This report", ""),
    ],
)
async def test_a_report_that_cannot_be_read_takes_no_neighbour_along(
    it: NodeServing, bad: bytes, field: str, echoed: str
) -> None:
    """It is answered by its number; those before and after it, and the messages that follow, are decided on."""
    stream = it.stream()
    with capture_logs() as logs:
        await stream.send(message(1, authorize("a"), bad, authorize("b")))
        await stream.send(message(4, authorize("c")))
        decisions = await stream.until_answered(4)
    told = {decision.sequence: (decision.request_id, decision.reason) for decision in decisions}
    assert told == {1: ("a", ALLOW), 2: (echoed, INVALID), 3: ("b", ALLOW), 4: ("c", ALLOW)}
    assert next(one.message for one in decisions if one.sequence == 2).startswith(field)
    assert logs == []
    assert set(it.rig.node.services[SERVICE].open) == {"a", "b", "c"}


async def test_a_request_goes_on_after_a_report_of_it_that_cannot_be_read(it: NodeServing) -> None:
    """Its counts are those of the reports that could be read, also after more of these than are explained."""
    stream = it.stream()
    await stream.send(message(1, authorize("a")))
    await stream.until_answered(1)
    bad = [spoiled(request_id="a", credential="dXf", phase=PROGRESS.value)] * 1_000
    await stream.send(message(2, *bad, report(PROGRESS, "a", Counts(1, output=5), service="")))
    decisions = await stream.until_answered(1_002)
    assert [decision.sequence for decision in decisions if decision.reason == INVALID] == list(range(2, 1_002))
    assert it.rig.node.services[SERVICE].open["a"].counts.output == 5


@pytest.mark.parametrize("garbage", [b"\xff", b"\x12\x7f", b"\x0a\x01", message(1, authorize("a"))[:-1]])
async def test_a_message_whose_reports_cannot_be_told_apart_ends_the_stream(it: NodeServing, garbage: bytes) -> None:
    """With INVALID_ARGUMENT and a sentence, without a word in the log; other streams go on."""
    stream, other = it.stream(), it.stream()
    with capture_logs() as logs:
        await stream.send(garbage)
        assert await status_of(stream) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "This message is not a tallygate.metering.v1.MeterRequest: its bytes are cut off or garbled.",
        )
    await other.send(message(1, authorize("a")))
    await other.until_answered(1)
    assert logs == []


async def test_too_many_reports_are_refused_whatever_they_are(it: NodeServing) -> None:
    """A message of millions of empty or garbled reports costs no more than one of 4,097."""
    for many in (b"\x12\x00", b"\x12\x01\xff"):
        stream = it.stream()
        await stream.send(b"\x08\x01" + many * 1_000_000)
        code, sentence = await status_of(stream)
        assert (code, sentence[:24]) == (grpc.StatusCode.INVALID_ARGUMENT, "reports: more than 4,096")


async def test_columns_that_lack_a_required_column_are_refused(it: NodeServing) -> None:
    """Entries without output are answered at the last one's number; without handles there is none to answer at."""
    stream = it.stream()
    await stream.send(message(1, authorize("a")._replace(handle=1)))
    await stream.send(MeterRequest(first_sequence=2, columns=ProgressColumns(handles=[1, 2])))
    decisions = await stream.until_answered(3)
    assert [(one.sequence, one.reason) for one in decisions] == [(1, ALLOW), (3, INVALID)]
    await stream.send(MeterRequest(first_sequence=4, columns=ProgressColumns(output_tokens=[5])))
    code, sentence = await status_of(stream)
    assert (code, sentence[:24]) == (grpc.StatusCode.INVALID_ARGUMENT, "columns.handles: missing")


@pytest.mark.parametrize("named", [True, False])
async def test_nothing_of_a_refused_report_is_kept(it: NodeServing, named: bool) -> None:
    """Refused reports of 3.9 MB leave nothing behind on a stream that goes on."""
    stream = it.stream()
    await stream.send(message(1, authorize("a")))
    await stream.until_answered(1)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(2, 12):
            await stream.send(_large(number, SERVICE if named else ""))
            await stream.until_answered(number)
            stream.responses.clear()
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One message may still be in the hands of grpc.
    assert kept_bytes < 8_500_000


def _large(number: int, service: str) -> bytes:
    return message(number, report(AUTHORIZE, f"{number}" + "x" * 3_900_000, Counts(1), service=service))


async def test_what_a_waiting_report_brought_along_is_bounded(it: NodeServing) -> None:
    """A resume token far longer than any grant's counts as none, and is not kept while its report waits."""
    stream = it.stream()
    it.rig.linked = False
    waiting = report(AUTHORIZE, "a", Counts(1), service="accounts/acme/services/new", resume=b"x" * 3_900_000)
    await stream.send(message(1, waiting, report(AUTHORIZE, "b", Counts(-1))))
    await stream.read()
    (waiter,) = it.rig.node.services["accounts/acme/services/new"].waiters
    # One byte more than a token may have, by which it is known to be none.
    assert len(waiter.report.resume) <= TOKEN_BYTES_MAX + 1


async def test_long_ids_of_many_refused_reports_are_cut(it: NodeServing) -> None:
    """4,000 of them with ids of 1,000 bytes: all are answered, by number and what fits of the id."""
    stream = it.stream()
    ids = [f"{number:04}" + "ü" * 498 for number in range(4_000)]
    await stream.send(message(1, *[report(AUTHORIZE, one, Counts(1)) for one in ids]))
    decisions = await stream.until_answered(4_000)
    assert [decision.sequence for decision in decisions] == list(range(1, 4_001))
    assert all(one.startswith(told.request_id) for one, told in zip(ids, decisions, strict=True))
    assert {len(decision.request_id.encode()) for decision in decisions} == {64}


async def test_a_stop_of_very_many_requests_reaches_each_of_them(it: NodeServing) -> None:
    """28,000 orders to stop are more than a client takes in one message."""
    stream, count = it.stream(), 28_000
    for first in range(1, count + 1, 2_000):
        ids = [f"{number:064}" for number in range(first, first + 2_000)]
        await stream.send(message(first, *[authorize(one) for one in ids]))
        await stream.until_answered(first + 1_999)
    told = len(stream.responses)
    it.rig.control.put(stopped(it.rig.control.config(SERVICE)))
    it.rig.hear_control()
    unheard = {f"{number:064}" for number in range(1, count + 1)}
    while unheard:
        for decision in (await stream.read()).decisions:
            assert (decision.reason, decision.HasField("sequence")) == (STOPPED, False)
            unheard.remove(decision.request_id)
    orders = stream.responses[told:]
    assert len(orders) > 1
    assert max(response.ByteSize() for response in orders) <= RESPONSE_BYTES_MAX
    assert {response.answered_through for response in orders} == {count}


REPORT_BYTES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda request_id, service, phase, output, credential: TokenReport(
            request_id=request_id,
            service=service,
            phase=phase,
            usage=token_usage_pb2.TokenUsage(output_tokens=output),
            credential=credential,
        ).SerializeToString(),
        st.text(max_size=70),
        st.sampled_from(["", SERVICE, "dXf"]),
        st.integers(-1, 5),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.sampled_from(["", "key", "dXf"]),
    ).map(lambda encoded: encoded.replace(b"dXf", NOT_UTF8)),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.lists(REPORT_BYTES, max_size=6), max_size=5))
async def test_whatever_stands_in_a_message_as_a_report_is_answered(it: NodeServing, bodies: list[list[bytes]]) -> None:
    """The stream lives: every report is answered by name or number, and so is a good one after all of them."""
    stream, sequence = it.stream(), 0
    for body in bodies:
        await stream.send(message(sequence + 1, *body))
        sequence += len(body)
    await stream.send(message(sequence + 1, authorize("sound")))
    with beating(it):
        decisions = await stream.until_answered(sequence + 1)
    assert sequence + 1 in {decision.sequence for decision in decisions}
    stream.call.cancel()


@contextmanager
def beating(it: NodeServing) -> Iterator[None]:
    """Lets this node's clock run, which is what waits for a lease or a commit waits for."""

    def beat() -> None:
        it.rig.node.clock.advance(us=50_000)  # type: ignore[attr-defined]  # the rig's
        it.rig.beat()

    task = asyncio.create_task(every(0.005, beat))
    try:
        yield
    finally:
        task.cancel()


def shuffled(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """The bytes with some of them replaced."""
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed)


MESSAGES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        shuffled,
        st.sampled_from([message(1, authorize("a"), report(PROGRESS, "a", Counts(1, output=1))), message(1)]),
        st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=4),
    ),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=MESSAGES)
async def test_any_bytes_as_a_message_are_answered_or_refused(it: NodeServing, data: bytes) -> None:
    """A stream that gets them says something, or ends with INVALID_ARGUMENT and a sentence; nothing is logged."""
    stream = it.stream()
    with capture_logs() as logs, beating(it):
        await stream.send(data)
        await stream.call.done_writing()
        with suppress(grpc.aio.AioRpcError):
            while isinstance(await stream.call.read(), MeterResponse):
                pass
        assert await stream.call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
    assert logs == []


async def test_a_message_that_is_too_large_ends_its_stream_alone(it: NodeServing) -> None:
    """With gRPC's own status, and without a word in the log; another stream on the same connection goes on."""
    stream, other = it.stream(), it.stream()
    with capture_logs() as logs:
        await stream.send(b"\x12" + varint(5_000_000) + bytes(5_000_000))
        code, _ = await status_of(stream)
        await other.send(message(1, authorize("a")))
        await other.until_answered(1)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert logs == []
