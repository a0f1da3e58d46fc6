"""The report of a what-if: names of others are text in it, and charts hold what they are given."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from metering_service.domain.counts import Counts
from tallygate.cli.what_if_charts import POINTS_MAX, cost_chart, payers_chart
from tallygate.cli.what_if_report import report
from tallygate.whatif.outcome import MINUTE_US, Outcome, Paid, ServiceOutcome

HOSTILE = '<script>alert("1")</script>&\x1b[31m'


def outcome(settings: str = "a", *, minutes: int = 3, cost_nanos: int = 1_000) -> Outcome:
    paid = Paid(trial=Counts(input=30), billed=Counts(input=50, output=20), cost_nanos=cost_nanos * minutes)
    service = ServiceOutcome(f"chat {settings}", requests=3, allowed=3, paid=paid)
    service.deny("TRIAL_EXHAUSTED", 5)
    each = {minute * MINUTE_US: Paid(cost_nanos=cost_nanos) for minute in range(minutes)}
    return Outcome(settings, "USD", 0, {service.name: service}, each)


def test_names_are_text() -> None:
    """Whoever named settings or services wrote no markup, and nothing that steers a terminal."""
    page = report([outcome(HOSTILE), outcome()])
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


def test_charts_are_well_formed_and_bounded() -> None:
    """A line for each of the settings, with no more points than can be seen; a bar for each payer."""
    outcomes = [outcome(HOSTILE, minutes=5_000), outcome("b", minutes=2, cost_nanos=7)]
    lines = ET.fromstring(cost_chart(outcomes)).findall("{*}polyline")  # noqa: S314  # our own
    assert len(lines) == 2
    assert all(len(line.attrib["points"].split()) <= 2 * POINTS_MAX for line in lines)
    heights = [int(point.partition(",")[2]) for point in lines[0].attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)
    widths = [int(width) for width in re.findall(r'width="(\d+)" height="26"', payers_chart(outcomes[1:]))]
    assert [width * 100 // sum(widths) for width in widths] == [0, 30, 70, 0]


def test_nothing_is_drawn_of_nothing() -> None:
    """Settings that let nothing through still have a report."""
    empty = Outcome("none", "USD", 0, {"chat": ServiceOutcome("chat")})
    assert cost_chart([empty]) == payers_chart([empty]) == ""
    assert "<svg" not in report([empty])
