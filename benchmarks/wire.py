"""Messages as bytes, put together so cheaply that the load generator is not what is measured.

A report is a head, which says whose it is, and a tail, which says what of it. The reports of many requests that say the
same are one `tail.join(heads)`: some 20 ns each where protobuf's own serialisation takes 2,000. What comes out is what
protobuf would have written, byte for byte; a test holds to that.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tallygate.metering.v1 import report_pb2, token_usage_pb2

Phase = report_pb2.ReportPhase

_REQUEST_ID = b"\x0a"
_SERVICE = b"\x12"
_PHASE = b"\x18"
_USAGE = b"\x22"
_REPORT = b"\x12"
_FIRST_SEQUENCE = b"\x08"
_HANDLE = b"\x60"
_COLUMNS = b"\x1a"
_HANDLES, _OUTPUTS, _REASONINGS = b"\x0a", b"\x12", b"\x1a"
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
        return Segment(_heads(self._long, len(what)), what, authorises=_authorises(what))

    def binding(self, what: bytes) -> "Segment":
        """As `naming`, and each binds its request to a handle: the number that it has in the group, from 1 on."""
        bodies = [whose + what + _HANDLE + varint(handle) for handle, whose in enumerate(self._long, 1)]
        return Segment([_field(_REPORT, body) for body in bodies], b"", authorises=_authorises(what))

    def of(self, what: bytes) -> "Segment":
        """Reports that leave it out."""
        heads = self._heads.get(len(what))
        if heads is None:
            heads = self._heads[len(what)] = _heads(self._short, len(what))
        return Segment(heads, what, authorises=_authorises(what))


def _heads(whose: list[bytes], tail_bytes: int) -> list[bytes]:
    lengths = {size: _REPORT + varint(size + tail_bytes) for size in {len(each) for each in whose}}
    return [lengths[len(each)] + each for each in whose]


def _authorises(what: bytes) -> bool:
    return what[1] == Phase.REPORT_PHASE_AUTHORIZE


@dataclass(frozen=True, slots=True)
class Segment:
    """Reports that all say the same, each of another request."""

    heads: list[bytes]
    tail: bytes
    authorises: bool

    @property
    def size(self) -> int:
        """Number of reports."""
        return len(self.heads)

    def cut(self, at: int, count: int) -> bytes:
        """Reports from that one on."""
        return self.tail.join(self.heads[at : at + count]) + self.tail

    def pieces(self, size: int) -> "Iterator[Segment]":
        """The same reports, so many at a time."""
        for at in range(0, len(self.heads), size):
            yield Segment(self.heads[at : at + size], self.tail, self.authorises)


class Order:
    """Handles in the order in which their requests report. Those of one message are sorted, as columns have to be."""

    def __init__(self, handles: Sequence[int]) -> None:
        self.size = len(handles)
        self._handles = handles
        self._packed: dict[tuple[int, int], bytes] = {}

    def packed(self, at: int, count: int) -> bytes:
        """The column of a message's handles, which is the same in each round."""
        found = self._packed.get((at, count))
        if found is None:
            handles = sorted(self._handles[at : at + count])
            found = self._packed[at, count] = _field(_HANDLES, struct.pack(f"<{len(handles)}i", *handles))
        return found


@dataclass(frozen=True, slots=True)
class ColumnSegment:
    """Entries of columns that all say the same counts. They have their messages to themselves."""

    order: Order
    output_tokens: int
    reasoning_tokens: int
    authorises = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.order.size

    def cut(self, at: int, count: int) -> bytes:
        """A message's columns, from that entry on."""
        counts = (_OUTPUTS, self.output_tokens), (_REASONINGS, self.reasoning_tokens)
        columns = [_field(tag, struct.pack("<i", tokens) * count) for tag, tokens in counts]
        return _field(_COLUMNS, self.order.packed(at, count) + b"".join(columns))


AnySegment: TypeAlias = Segment | ColumnSegment
NOTHING: Final = Segment([], b"", authorises=False)


@dataclass(frozen=True, slots=True)
class Cut:
    """What one message says. `authorisations`: how many of its reports ask whether a request may run."""

    reports: bytes
    count: int
    authorisations: int


class Cutter:
    """Cuts a sequence of segments into messages, wherever the segments end."""

    def __init__(self, segments: Iterator[AnySegment]) -> None:
        self._segments = segments
        self._segment: AnySegment = NOTHING
        self._at = 0

    def cut(self, count: int) -> Cut | None:
        """The next reports, so many or, at the end and before columns or after them, fewer; None if there are none."""
        parts: list[bytes] = []
        missing, authorisations, is_full = count, 0, False
        while missing and not is_full and self._has_more():
            segment = self._segment
            is_full = isinstance(segment, ColumnSegment)
            if is_full and parts:
                break
            number = min(missing, segment.size - self._at)
            parts.append(segment.cut(self._at, number))
            authorisations += number if segment.authorises else 0
            missing -= number
            self._at += number
        return Cut(b"".join(parts), count - missing, authorisations) if parts else None

    def _has_more(self) -> bool:
        while self._at == self._segment.size:
            segment = next(self._segments, None)
            if segment is None:
                return False
            self._segment, self._at = segment, 0
        return True

    def only_rest(self) -> None:
        """What was begun is still said, and nothing after it."""
        self._segments = iter(())
