"""Plans of imports as people see them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from tallygate.cli.money import format_amount
from tallygate.cli.show_access import table
from tallygate.importing.plan import Plan


def plan_tables(plan: Plan) -> Iterator[Table]:
    """A table of each kind of which there is something, and at last what is left out, line by line."""
    if plan.teams:
        yield table(("team", "name"), ((team.id, team.display_name) for team in plan.teams))
    if plan.keys:
        yield table(
            ("key", "name", "team", "models", "networks"),
            (
                (key.id, key.display_name, key.team, ", ".join(key.models) or "all", ", ".join(key.networks) or "any")
                for key in plan.keys
            ),
        )
    if plan.budgets:
        yield table(
            ("budget", "on", "amount", "period", "spent"),
            (
                (one.id, one.place, format_amount(one.amount_nanos), one.period.value, format_amount(one.spent_nanos))
                for one in plan.budgets
            ),
        )
    if plan.rules:
        yield table(
            ("rule", "on", "model", "limit"),
            (
                (rule.id, rule.place, rule.model or "all", f"{rule.limit_units:,} {rule.metric.value}")
                for rule in plan.rules
            ),
        )
    if plan.left_out:
        yield table(("left out", "why"), ((one.what, one.why) for one in plan.left_out))
