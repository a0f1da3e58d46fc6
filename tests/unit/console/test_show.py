"""How values look: exact where somebody points at them, and nobody's text is markup."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.console import charts, show
from tallygate.control.v1 import inference_service_pb2 as pb


@pytest.mark.parametrize(
    ("nanos", "text", "exact"),
    [
        (12_500_000_000, "12.50", "12.50"),
        (1_234_567_890_123_456, "≈1,234,567.8901", "1,234,567.890123456"),
        (-1_234_567_890, "≈-1.2345", "-1.23456789"),
        (812, "0.000000812", "0.000000812"),
        (0, "0.00", "0.00"),
    ],
)
def test_an_amount_is_exact_in_its_title(nanos: int, text: str, exact: str) -> None:
    """Long decimals are marked as rounded; what would look like nothing is shown in full."""
    shown = show.amount(nanos, "USD")
    assert f">{text} USD</data>" in shown
    assert f'value="{nanos}" title="{exact} USD ({nanos:,} nanos)"' in shown


def test_a_currency_is_no_markup() -> None:
    """It comes from a service, as all texts do."""
    assert "<b>" not in show.amount(1, "<b>")
    assert "<b>" not in charts.bar(1, 2, "<b>")
    assert "<b>" not in charts.sparkline([1], "<b>")


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (1_250, "1.2k"), (-2_000_000, "-2.0M"), (1_999_999_999, "1.9G")]
)
def test_a_short_number_is_exact_in_its_title(count: int, text: str) -> None:
    """It is never more than there is."""
    assert show.compact(count) == f'<data value="{count}" title="{count:,}">{text}</data>'


def test_a_time_is_in_utc_until_the_browser_says_otherwise() -> None:
    """Messages and microseconds alike."""
    expected = '<time datetime="2023-11-14T22:13:20Z" title="2023-11-14 22:13:20 UTC">2023-11-14 22:13:20 UTC</time>'
    assert show.moment(Timestamp(seconds=1_700_000_000)) == expected
    assert show.moment(1_700_000_000_000_000) == expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(86_400, "1 day"), (30 * 86_400, "30 days"), (5_400, "90 minutes"), (0, "0 seconds")]
)
def test_a_length_of_time_has_its_greatest_unit(seconds: int, text: str) -> None:
    """Without a rest."""
    assert show.duration(Duration(seconds=seconds)) == text


def test_words_are_those_of_the_contract() -> None:
    """A value that this program does not know is a number, and no failure."""
    service = pb.InferenceService(status=pb.SERVICE_STATUS_STOPPED, billing_modes=[pb.BILLING_MODE_PAY_AS_YOU_GO])
    assert show.enum_name(service, "status") == "STOPPED"
    assert [show.words(name) for name in show.enum_names(service, "billing_modes")] == ["Pay as you go"]
    assert show.words("TPM_RESERVATION") == "TPM reservation"
    service.MergeFromString(b"\x40\x63")
    assert show.enum_name(service, "status") == "99"


def test_something_however_little_is_seen() -> None:
    """And nothing is nothing."""
    assert (show.percent(1, 1_000_000), show.percent(0, 5), show.percent(5, 0)) == (1, 0, 0)
    assert 'class="part" width="1"' in charts.bar(1, 10_000_000, "little")
    assert charts.sparkline([0, 1, 100_000], "used").count("<rect") == 2
