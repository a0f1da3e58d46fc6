"""What the log says while something is away."""

from dataclasses import dataclass

from structlog.testing import capture_logs

from tallygate._server.outage import REMINDER_S, Outage


@dataclass
class Now:
    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


def told(outage: Outage, now: Now, seconds: float, tries_per_s: int = 10) -> list[tuple[str, float | None]]:
    """What is said while it fails for so long, tried all the time."""
    with capture_logs() as lines:
        for number in range(int(seconds * tries_per_s)):
            outage.failed("reading", problem=f"problem {number}")
            now.seconds += 1 / tries_per_s
    return [(line["event"], line.get("gone_for_s")) for line in lines]


def test_an_outage_is_a_line_however_often_it_is_met() -> None:
    """And one more when it is over, which says how long it took."""
    now = Now()
    outage = Outage("database", now)
    assert told(outage, now, 2) == [("outage_began", None)]
    with capture_logs() as lines:
        outage.answered("reading")
        outage.answered("reading")
    said = [(line["event"], line["of"], line["gone_for_s"], line["log_level"]) for line in lines]
    assert said == [("outage_over", "database", 2.0, "info")]


def test_a_long_outage_is_recalled_once_a_minute() -> None:
    """Whoever reads only the end of a log sees it, too."""
    now = Now()
    lines = told(Outage("control", now), now, 2.5 * REMINDER_S)
    assert [event for event, _ in lines] == ["outage_began", "outage_goes_on", "outage_goes_on"]
    assert [round(gone_for_s or 0) for _, gone_for_s in lines[1:]] == [60, 120]


def test_it_is_not_back_while_a_part_of_it_fails() -> None:
    """A database on a full disk can still be read: it is not said to come and go with each read."""
    now = Now()
    outage = Outage("database", now)
    with capture_logs() as lines:
        for _ in range(3):
            outage.failed("writing", problem="full")
            outage.failed("reading", problem="full")
            outage.answered("reading")
        outage.answered("writing")
    assert [line["event"] for line in lines] == ["outage_began", "outage_over"]


def test_a_refusal_in_an_outage_is_told_at_once() -> None:
    """Control that is back with an older database says what to do; that must not wait for the reminder."""
    now = Now()
    outage = Outage("control", now)
    with capture_logs() as lines:
        for reason in ("", "", "NODE_NOT_REGISTERED", "CONTROL_WENT_BACKWARDS", "", "NODE_NOT_REGISTERED"):
            outage.failed("leases", code="FAILED_PRECONDITION" if reason else "UNAVAILABLE", reason=reason)
    assert [line["reason"] for line in lines] == ["", "NODE_NOT_REGISTERED", "CONTROL_WENT_BACKWARDS"]
