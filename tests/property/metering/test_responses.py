"""What a Meter stream says, however much it is: every decision once, in order, in messages that clients take."""

from hypothesis import given, settings
from hypothesis import strategies as st

from metering_service.api.meter_response import DECISION_BYTES_MAX, RESPONSE_BYTES_MAX, encode_responses
from metering_service.domain.counts import Counts
from metering_service.domain.decision import BudgetStatus, Decision, Grant, Reason, deny
from metering_service.domain.key_ring import TOKEN_BYTES_MAX
from metering_service.domain.receipt import Receipt
from metering_service.usecases.stream_messages import Named, Outgoing
from tallygate.metering.v1.metering_service_pb2 import MeterResponse

INT32_MAX, INT64_MAX = (1 << 31) - 1, (1 << 63) - 1
MOST = Counts(*[INT64_MAX] * 5)
LARGEST = deny(
    "\U0001f600" * 16,
    Reason.INVALID_REPORT,
    message="x" * 500,
    retryable=True,
    retry_after_ms=INT64_MAX,
    remaining_tokens=INT64_MAX,
    remaining_nanos=INT64_MAX,
    config_version=INT64_MAX,
    budget=BudgetStatus("b" * 256, "p" * 256, INT64_MAX, is_money=True, end_us=1),
)._replace(
    grant=Grant(INT64_MAX, INT64_MAX, is_final=True, resume=b"x" * TOKEN_BYTES_MAX),
    receipt=Receipt(
        usage=MOST,
        reserved=MOST,
        trial=MOST,
        billed=MOST,
        unfunded=MOST,
        overrun_tokens=INT64_MAX,
        cost_nanos=INT64_MAX,
        debt_nanos=INT64_MAX,
        price_version=INT32_MAX,
        revision=INT32_MAX,
    ),
)

DECISIONS = st.one_of(
    st.just(LARGEST),
    st.text(max_size=16).map(Decision),
    st.tuples(st.text(max_size=16), st.sampled_from(Reason)).map(lambda denial: deny(*denial)),
)
RUNS = st.lists(st.tuples(DECISIONS, st.sampled_from([1, 2, 254, 255, 256, 700])), max_size=6)


def said(messages: list[MeterResponse]) -> list[tuple[int | None, str, int]]:
    return [
        (one.sequence if one.HasField("sequence") else None, one.request_id, one.reason)
        for message in messages
        for one in message.decisions
    ]


@settings(deadline=None, max_examples=50)
@given(
    runs=RUNS,
    watermarks=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    last=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    valid_for_ms=st.integers(0, 30_000),
)
def test_every_decision_is_said_once_in_order_and_no_message_is_too_large(
    runs: list[tuple[Decision, int]], watermarks: tuple[int, int], last: tuple[int, int], valid_for_ms: int
) -> None:
    """Watermarks move and grants are renewed with the last message only, after which everything up to there is said."""
    decisions: list[Named] = [(None, decision) for decision, count in runs for _ in range(count)]
    decisions = [(number if number % 3 else None, one) for number, (_, one) in enumerate(decisions, 1)]
    before = MeterResponse(answered_through=last[0], durable_through=last[1])
    messages = list(encode_responses(Outgoing(*watermarks, valid_for_ms, tuple(decisions)), before))

    told = said(messages)
    assert [(sequence, request_id) for sequence, request_id, _ in told] == [
        (sequence, one.request_id) for sequence, one in decisions
    ]
    assert max(message.ByteSize() for message in messages) <= RESPONSE_BYTES_MAX
    assert sum(message.ByteSize() for message in messages) > (len(messages) - 2) * RESPONSE_BYTES_MAX // 2
    *earlier, final = messages
    assert {(one.answered_through, one.durable_through) for one in earlier} <= {last}
    assert not any(one.HasField("grants_valid_for") for one in earlier)
    assert (final.answered_through, final.durable_through) == watermarks
    assert final.HasField("grants_valid_for")
    assert final.grants_valid_for.ToMilliseconds() == valid_for_ms


def test_no_decision_is_larger_than_is_reckoned_with() -> None:
    """With everything that one may say, and all of it as large as it gets."""
    (message,) = encode_responses(Outgoing(0, 0, 0, ((INT64_MAX, LARGEST),)), MeterResponse())
    assert message.ByteSize() < DECISION_BYTES_MAX
