"""The report of a what-if: one HTML file with charts and tables, which needs nothing else to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallygate.cli.what_if_charts import PAYERS, colour_of, cost_chart, payers_chart, text_of
from tallygate.cli.what_if_rows import Row, account_rows, names_of, service_rows
from tallygate.whatif.outcome import Outcome

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #111827 }
h2 { margin-top: 2.5rem; font-size: 1.15rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: .35rem .75rem; text-align: right; border-bottom: 1px solid #e5e7eb; vertical-align: top }
th:first-child, td:first-child { text-align: left; color: #6b7280 }
svg { max-width: 100%; height: auto; font-size: 12px }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .4em 0 1em }
"""


def report(outcomes: Sequence[Outcome]) -> str:
    """The whole file."""
    settings = [(outcome.settings, colour_of(index)) for index, outcome in enumerate(outcomes)]
    parts = [
        _section("Account", _table(outcomes, account_rows(outcomes))),
        _section("Cost over time", _key(settings) + chart) if (chart := cost_chart(outcomes)) else "",
        _section("Who paid for the tokens", _key(PAYERS.items()) + bars) if (bars := payers_chart(outcomes)) else "",
        *(_section(f"Service {name}", _table(outcomes, service_rows(outcomes, name))) for name in names_of(outcomes)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>What if</title>'
        f"<style>{_STYLE}</style></head><body><h1>What if</h1>{''.join(parts)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{text_of(title)}</h2>{content}"


def _table(outcomes: Sequence[Outcome], rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{text_of(outcome.settings)}</th>" for outcome in outcomes)
    body = "".join(
        f"<tr><td>{text_of(title)}</td>{''.join(f'<td>{text_of(cell)}</td>' for cell in cells)}</tr>"
        for title, cells in rows
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _key(colours: Iterable[tuple[str, str]]) -> str:
    marks = "".join(f'<span class="key" style="background:{colour}"></span>{text_of(name)}' for name, colour in colours)
    return f"<p>{marks}</p>"
