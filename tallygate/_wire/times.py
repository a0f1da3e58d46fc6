"""Times and lengths of time on the wire."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_MS_PER_S: Final = 1_000
_US_PER_S: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_NS_PER_US: Final = 1_000


def encode_timestamp(time_us: int | None) -> Timestamp | None:
    """A moment in microseconds since 1970; None is absent."""
    if time_us is None:
        return None
    seconds, rest_us = divmod(time_us, _US_PER_S)
    return Timestamp(seconds=seconds, nanos=rest_us * _NS_PER_US)


def encode_timestamp_into(message: Timestamp, time_us: int) -> None:
    """Write a moment in microseconds since 1970 in place: half the time of a message that is copied."""
    message.seconds, rest_us = divmod(time_us, _US_PER_S)
    message.nanos = rest_us * _NS_PER_US


def encode_duration(length_us: int | None) -> Duration | None:
    """A length of time in microseconds, not negative; None is absent."""
    if length_us is None:
        return None
    seconds, rest_us = divmod(length_us, _US_PER_S)
    return Duration(seconds=seconds, nanos=rest_us * _NS_PER_US)


def encode_duration_into(message: Duration, length_ms: int) -> None:
    """Write a length of time in milliseconds, not negative, in place: half the time of a message that is copied."""
    message.seconds, rest_ms = divmod(length_ms, _MS_PER_S)
    message.nanos = rest_ms * _NS_PER_MS


def decode_ns(value: Timestamp | Duration) -> int:
    """Nanoseconds: of a moment since 1970, of a length of time as long as it is. For values that are `is_normal`."""
    return value.seconds * _NS_PER_S + value.nanos


def is_normal(value: Timestamp | Duration) -> bool:
    """Whether the nanoseconds are less than a second and not negative, as they are of every length that is not."""
    return 0 <= value.nanos < _NS_PER_S
