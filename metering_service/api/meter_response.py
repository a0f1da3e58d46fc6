"""Writes what a Meter stream says next: one message, or as many as are needed for each to stay small."""

from collections.abc import Iterator, Sequence
from typing import Final

from metering_service.api.codec import encode_decision_into, encode_raised_into
from metering_service.domain.key_ring import TOKEN_BYTES_MAX
from metering_service.usecases.stream_messages import Named, Outgoing, Raised
from tallygate._server.grpc.message_size import OVERHEAD_BYTES
from tallygate._wire.times import encode_duration_into
from tallygate.metering.v1.metering_service_pb2 import MeterResponse

RESPONSE_BYTES_MAX: Final = 1024 * 1024
"""Of one message: a quarter of what clients take."""
DECISION_BYTES_MAX: Final = 8 * 1024
"""Of a decision, whatever it says: ids, sentences and tokens are bounded."""
DECISIONS_UNMEASURED: Final = RESPONSE_BYTES_MAX // DECISION_BYTES_MAX - 1
"""Number of decisions that fit into a message whatever they say."""

GRANTS_MAX: Final = RESPONSE_BYTES_MAX // (TOKEN_BYTES_MAX + 32)
"""Of one message: each is a token and some numbers."""


def encode_responses(outgoing: Outgoing, last: MeterResponse) -> Iterator[MeterResponse]:
    """The messages that say it; each decision has the number of the report that it answers.

    Watermarks move, and grants are renewed, with the last of them, after which everything up to there is said. Those
    before it repeat the watermarks of `last`, the message that the stream had before.
    """
    message, position = MeterResponse(columns_handles_max=outgoing.columns_handles_max), 0
    for raised in _parts(outgoing.grants):
        if message.HasField("grants"):
            message.answered_through, message.durable_through = last.answered_through, last.durable_through
            yield message
            message = MeterResponse()
        encode_raised_into(message.grants, raised)
    if message.HasField("grants") and outgoing.decisions:
        message.answered_through, message.durable_through = last.answered_through, last.durable_through
        yield message
        message = MeterResponse()
    while (position := _fill(message, outgoing.decisions, position)) < len(outgoing.decisions):
        message.answered_through, message.durable_through = last.answered_through, last.durable_through
        yield message
        message = MeterResponse()
    message.answered_through, message.durable_through = outgoing.answered_through, outgoing.durable_through
    encode_duration_into(message.grants_valid_for, outgoing.grants_valid_for_ms)
    yield message


def _parts(grants: Sequence[Raised]) -> Iterator[Sequence[Raised]]:
    """As many at a time as fit into a message, whatever their tokens are."""
    for begin in range(0, len(grants), GRANTS_MAX):
        yield grants[begin : begin + GRANTS_MAX]


def _fill(message: MeterResponse, decisions: Sequence[Named], start: int) -> int:
    """Write decisions from there on, as many as fit; where the next message goes on."""
    add, measured = message.decisions.add, len(decisions) > DECISIONS_UNMEASURED
    left_bytes = RESPONSE_BYTES_MAX - DECISION_BYTES_MAX
    for position in range(start, len(decisions)):
        sequence, decision = decisions[position]
        one = add(sequence=sequence)
        encode_decision_into(one, decision)
        if measured:
            left_bytes -= one.ByteSize() + OVERHEAD_BYTES
            if left_bytes < DECISION_BYTES_MAX:
                return position + 1
    return len(decisions)
