"""Alerts of the account `acme`, as tests look at them."""

from control_service.domain.alert import Alert, AlertKind
from control_service.storage.database import SqlDatabase
from control_service.usecases.alert_ports import AlertFilter

NUMBER_MAX = 2**63 - 1


async def alerts_of(database: SqlDatabase, *kinds: AlertKind, account_id: str = "acme") -> list[Alert]:
    """All alerts of these kinds, or of any, in their order."""
    async with database.reading() as tx:
        found = await tx.alerts.page(AlertFilter(account_id, frozenset(kinds)), NUMBER_MAX, 1_000)
    return found[::-1]


async def figures_of(database: SqlDatabase, kind: AlertKind, name: str) -> list[int]:
    """One figure of each alert of a kind, in their order."""
    return [alert.content.figures[name] for alert in await alerts_of(database, kind)]
