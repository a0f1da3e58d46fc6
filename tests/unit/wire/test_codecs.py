"""How times and enums are written on the wire."""

from enum import Enum

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tallygate._wire.enums import decode_enum, decode_enum_name, decode_table, encode_enum, encode_enums, encode_table
from tallygate._wire.times import decode_ns, encode_duration, encode_duration_into, encode_timestamp, is_normal
from tallygate.control.v1.pot_pb2 import POT_KIND_MONEY, POT_KIND_TRIAL, PotKind

YEAR_1_US, YEAR_10000_US = -62_135_596_800 * 10**6, 253_402_300_800 * 10**6


class Kind(Enum):
    TRIAL = 7
    MONEY = 8


class Newer(Enum):
    MONEY = 1


@given(st.integers(YEAR_1_US, YEAR_10000_US - 1))
def test_moments_lead_back(time_us: int) -> None:
    """Those before 1970 as well; protobuf's own reading agrees."""
    moment = encode_timestamp(time_us)
    assert moment is not None
    assert is_normal(moment)
    assert decode_ns(moment) == time_us * 1_000 == moment.ToNanoseconds()


@given(st.integers(0, 2**53))
def test_lengths_lead_back(length_us: int) -> None:
    """Written whole, or into a message in milliseconds."""
    length, written = encode_duration(length_us), Duration()
    assert length is not None
    assert decode_ns(length) == length_us * 1_000 == length.ToNanoseconds()
    encode_duration_into(written, length_us // 1_000)
    assert written.ToMilliseconds() == length_us // 1_000


def test_what_is_not_given_is_absent() -> None:
    """None is no moment, and no length of zero."""
    assert encode_timestamp(None) is None
    assert encode_duration(None) is None


@pytest.mark.parametrize(("nanos", "normal"), [(-1, False), (0, True), (999_999_999, True), (1_000_000_000, False)])
def test_a_second_has_less_than_a_thousand_million_nanoseconds(nanos: int, *, normal: bool) -> None:
    """What has more, or less than none, is no time."""
    assert is_normal(Duration(nanos=nanos)) == is_normal(Timestamp(nanos=nanos)) == normal


def test_enums_go_by_name() -> None:
    """Whatever the members' own values are; sets are in the order of their definition."""
    assert encode_enum(PotKind, Kind.MONEY) == POT_KIND_MONEY
    assert encode_enums(PotKind, Kind, {Kind.MONEY, Kind.TRIAL}) == [POT_KIND_TRIAL, POT_KIND_MONEY]
    assert encode_table(PotKind, Kind) == {Kind.TRIAL: POT_KIND_TRIAL, Kind.MONEY: POT_KIND_MONEY}
    assert decode_table(PotKind, Kind) == {POT_KIND_TRIAL: Kind.TRIAL, POT_KIND_MONEY: Kind.MONEY}
    assert decode_enum(PotKind, Kind, POT_KIND_TRIAL) is Kind.TRIAL
    assert decode_enum_name(PotKind, POT_KIND_TRIAL) == "TRIAL"


@pytest.mark.parametrize("number", [99, -1, POT_KIND_TRIAL])
def test_a_value_that_is_unknown_is_refused(number: int) -> None:
    """To the contract, or to this program."""
    with pytest.raises(ValueError, match=r"99|-1|TRIAL"):
        decode_enum(PotKind, Newer, number)
