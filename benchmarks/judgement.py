"""What is to be said against a figure, and whether it counts."""

from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure
from benchmarks.job import Result

DURABLE_LAG_MAX_S = 1.0
WORTH_A_WORD = 0.01
KEPT = 0.9
"""Of a schedule, at the least."""


def latency_figure(figure: Figure, point: str, results: list[Result], ceiling: Sequence[Result]) -> Figure:
    """The figure, filled in with a percentile."""
    figure.samples, figure.ceiling = (
        [result.latency_ms.get(point, 0.0) for result in each] for each in (results, ceiling)
    )
    figure.details, figure.lower_is_better = results, True
    judge(figure, results, ceiling)
    return figure


def judge(figure: Figure, results: Sequence[Result], ceiling: Sequence[Result] = ()) -> None:
    """Say what is to be said against a figure, and whether it counts: nothing does beside a ceiling that does not."""
    for why in _against(results):
        figure.invalid(why)
    for why in _against(ceiling):
        figure.invalid(f"the ceiling {why}")
    if any(result.generator_was_bottleneck for result in results):
        figure.notes.append("the load generator was the bottleneck")
    unverified = sum(result.unverified for result in results)
    if unverified:
        figure.notes.append(
            f"{unverified:,} wrong tokens were answered CREDENTIAL_UNVERIFIED: control was not asked, or not in time"
        )
    held_back = max((result.held_back for result in results), default=0.0)
    if held_back > WORTH_A_WORD:
        figure.notes.append(f"waited {held_back:.0%} of the time for records")


def last_words(error: Exception) -> str:
    """The last line of an error that says something; of a failed call its status, in place of a bracket."""
    lines = [line.strip() for line in str(error).splitlines() if any(letter.isalnum() for letter in line)]
    said = next((line for line in lines if line.startswith("status = ")), "")
    return said or (lines[-1] if lines else type(error).__name__)


def require_beside(result: Result, other: Result, rate: float) -> None:
    """Refuse a result whose other load was less than it should have been. Raises RuntimeError."""
    if other.rate < KEPT * rate:
        raise RuntimeError(f"the load beside it was {other.rate:,.0f} a second, not {rate:,.0f}")
    (begin_s, end_s), (other_begin_s, other_end_s) = result.window_s, other.window_s
    if other_begin_s > begin_s or other_end_s < end_s:
        raise RuntimeError("the load beside it began too late, or ended too early")


def judge_schedule(figure: Figure, results: Sequence[Result], rate: float) -> None:
    """Say whether a load on schedule was the load that it should have been."""
    kept = min(result.rate for result in results) / rate
    if kept < KEPT:
        figure.invalid(f"does not count: {kept:.0%} of the schedule was kept")


def _against(results: Sequence[Result]) -> Iterator[str]:
    """Why these results are not what they should be."""
    lag_s = max((result.durable_lag_s for result in results), default=0.0)
    if lag_s >= DURABLE_LAG_MAX_S:
        yield f"does not count: records {lag_s:.1f} s behind at the end"
    denied = sum(sum(result.denials.values()) for result in results)
    if denied:
        yield f"does not count: {denied:,} reports were denied"
    for failure in sorted({result.failure for result in results if result.failure}):
        yield f"failed: {failure}"
