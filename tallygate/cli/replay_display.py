"""The display of a replay: live while it runs, and a table of all sources at its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tallygate.cli.console import facts, literal, visible
from tallygate.cli.money import format_amount
from tallygate.replay.figures import Figures
from tallygate.replay.outcome import Outcome
from tallygate.replay.tally import Tally

_REFRESH_PER_SECOND = 4

_ROWS = (
    ("requests", "requests"),
    ("bookings", "bookings"),
    ("input", "input_tokens"),
    ("output", "output_tokens"),
    ("reserved", "reserved_tokens"),
    ("trial", "trial_tokens"),
    ("billed", "billed_tokens"),
    ("unfunded", "unfunded_tokens"),
    ("overrun", "overrun_tokens"),
    ("cost", "cost_nanos"),
)


class ReplayDisplay:
    """Reads the tally a few times a second; the replay itself never waits for it."""

    def __init__(self, console: Console, tally: Tally, *, currency: str, title: str) -> None:
        self._tally = tally
        self._currency = currency
        self._status = ""
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task(title, total=None)
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=False
        )

    def __enter__(self) -> Self:
        if self._live.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def set_status(self, status: str) -> None:
        """Sets the step that is shown."""
        self._status = status

    def _render(self) -> RenderableType:
        tally = self._tally
        done = tally.finished + tally.denied
        self._progress.update(self._task, total=tally.requests or None, completed=done)
        paid = tally.receipts
        line = Text.assemble(
            ("allowed ", "dim"),
            (f"{tally.allowed:,}", "green"),
            ("  denied ", "dim"),
            (f"{tally.denied:,}", "red" if tally.denied else "default"),
            ("  reserved ", "dim"),
            (f"{paid.reserved.total:,}", "cyan"),
            ("  trial ", "dim"),
            (f"{paid.trial.total:,}", "magenta"),
            ("  billed ", "dim"),
            (f"{paid.billed.total:,}", "yellow"),
            ("  cost ", "dim"),
            (format_amount(paid.cost_nanos, self._currency), "bold"),
            (f"  {self._status}", "dim italic"),
        )
        return Group(self._progress, line)


def summary(outcome: Outcome) -> Table:
    """A summary in a few rows."""
    tally = outcome.tally
    rate = tally.reports * 1_000_000_000 // max(1, outcome.wall_ns)
    return facts(
        (
            "requests",
            Text.assemble(f"{tally.requests:,}: ", (f"{tally.allowed:,} allowed", "green"), ", ", _denied(tally)),
        ),
        ("told to stop", ", ".join(f"{count:,} {reason}" for reason, count in tally.stops.most_common())),
        ("reached a final grant", f"{tally.cut_short:,}" if tally.cut_short else ""),
        ("reports", f"{tally.reports:,} in {outcome.wall_ns / 1_000_000_000:.1f} s, {rate:,} a second"),
    )


def reconciliation(outcome: Outcome, currency: str) -> Table:
    """A row for every figure, a column for every source, and a mark where they agree or not."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("")
    table.add_column("")
    for source in outcome.sources:
        table.add_column(source.name, justify="right", no_wrap=True)
    wrong = {(difference.source, difference.figure) for difference in outcome.differences}
    for title, name in _ROWS:
        agrees = not any(figure == name for _, figure in wrong)
        table.add_row(
            "[green]✓[/]" if agrees else "[red]✗[/]",
            f"{title} {currency}" if name == "cost_nanos" else title,
            *(_cell(source.figures, name, wrong=(source.name, name) in wrong) for source in outcome.sources),
        )
    return table


def agreement(outcome: Outcome) -> Group:
    """Whether the books agree, and else everything in which they do not."""
    if outcome.reconciled:
        return Group("[bold green]The books agree.[/]")
    lines = [
        f"  {found.source}: {found.figure} is {found.actual:,} instead of {found.expected:,}"
        for found in outcome.differences
    ]
    lines += [f"  {sentence}" for sentence in outcome.unrest]
    lines += [f"  {count:,} finishes were refused: {why}" for why, count in outcome.tally.refused_finishes.items()]
    return Group("[bold red]The books do not agree.[/]", *map(literal, lines))


def _denied(tally: Tally) -> Text:
    if not tally.denied:
        return Text("none denied")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.denials.most_common())
    return Text.assemble((f"{tally.denied:,} denied", "red"), f" ({visible(reasons)})")


def _cell(figures: Figures, name: str, *, wrong: bool) -> Text:
    value = getattr(figures, name)
    text = "" if value is None else format_amount(value) if name == "cost_nanos" else f"{value:,}"
    return Text(text, style="bold red" if wrong else "default")
