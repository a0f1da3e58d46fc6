"""Messages as bytes, put together so cheaply that the load generator is not what is measured.

A report is a head, which says whose it is, and a tail, which says what of it. The reports of many requests that say the
same are one `tail.join(heads)`: some 20 ns each where protobuf's own serialisation takes 2,000. What comes out is what
protobuf would have written, byte for byte; a test holds to that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tallygate.metering.v1 import report_pb2, token_usage_pb2

Phase = report_pb2.ReportPhase

_REQUEST_ID = b"\x0a"
_SERVICE = b"\x12"
_PHASE = b"\x18"
_USAGE = b"\x22"
_REPORT = b"\x12"
_FIRST_SEQUENCE = b"\x08"
_UNARY_REPORT = b"\x0a"
_SEVEN_BITS = 0x7F


def varint(number: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append((number & _SEVEN_BITS) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def tail(phase: Phase.ValueType, usage: token_usage_pb2.TokenUsage) -> bytes:
    """What a report says, without whose it is."""
    return _PHASE + varint(phase) + _field(_USAGE, usage.SerializeToString())


def message(first_sequence: int, reports: bytes) -> bytes:
    """A MeterRequest."""
    return _FIRST_SEQUENCE + varint(first_sequence) + reports


def unary(report: bytes) -> bytes:
    """An AuthorizeRequest or a ReportRequest with that report, which is given as a part of a MeterRequest."""
    return _UNARY_REPORT + report.removeprefix(_REPORT)


class Group:
    """Requests that are spoken of together. `services`: one for all, or one for each."""

    def __init__(self, ids: Sequence[str], services: Sequence[str]) -> None:
        self.size = len(ids)
        self._short = [_field(_REQUEST_ID, each.encode()) for each in ids]
        names = [_field(_SERVICE, service.encode()) for service in services]
        self._long = [short + names[number % len(names)] for number, short in enumerate(self._short)]
        self._heads: dict[int, list[bytes]] = {}

    def naming(self, what: bytes) -> "Segment":
        """Reports that name their service, as the first one of a request on a stream must."""
        return Segment(_heads(self._long, len(what)), what)

    def of(self, what: bytes) -> "Segment":
        """Reports that leave it out."""
        heads = self._heads.get(len(what))
        if heads is None:
            heads = self._heads[len(what)] = _heads(self._short, len(what))
        return Segment(heads, what)


def _heads(whose: list[bytes], tail_bytes: int) -> list[bytes]:
    lengths = {size: _REPORT + varint(size + tail_bytes) for size in {len(each) for each in whose}}
    return [lengths[len(each)] + each for each in whose]


@dataclass(frozen=True, slots=True)
class Segment:
    """Reports that all say the same, each of another request."""

    heads: list[bytes]
    tail: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """The reports of one message. `authorisations`: how many of them ask whether a request may run."""

    reports: bytes
    count: int
    authorisations: int


class Cutter:
    """Cuts a sequence of segments into messages, wherever the segments end."""

    def __init__(self, segments: Iterator[Segment]) -> None:
        self._segments = segments
        self._heads: list[bytes] = []
        self._tail = b""
        self._at = 0

    def cut(self, count: int) -> Cut | None:
        """The next reports, so many or, at the end, fewer; None when there are no more."""
        parts: list[bytes] = []
        missing, authorisations = count, 0
        while missing:
            if self._at == len(self._heads):
                segment = next(self._segments, None)
                if segment is None:
                    break
                self._heads, self._tail, self._at = segment.heads, segment.tail, 0
                continue
            heads = self._heads[self._at : self._at + missing]
            parts.append(self._tail.join(heads) + self._tail)
            if self._tail[1] == Phase.REPORT_PHASE_AUTHORIZE:
                authorisations += len(heads)
            missing -= len(heads)
            self._at += len(heads)
        return Cut(b"".join(parts), count - missing, authorisations) if parts else None

    def only_rest(self) -> None:
        """What was begun is still said, and nothing after it."""
        self._segments = iter(())
