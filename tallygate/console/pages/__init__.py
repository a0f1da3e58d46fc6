"""The pages, each a module with `NAV` and `ROUTES`, in the order in which the navigation lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from starlette.routing import Route

from tallygate.console.nav import Nav
from tallygate.console.pages import (
    access,
    accounts,
    alerts,
    audit,
    budgets,
    catalogue,
    fleet,
    keys,
    models,
    money,
    my_tokens,
    prices,
    rate_rules,
    requests,
    reservations,
    service,
    service_accounts,
    service_actions,
    service_forms,
    services,
    statements,
    teams,
    traffic,
    usage,
    webhooks,
)


class Page(Protocol):
    """What the module of a page has."""

    @property
    def NAV(self) -> Nav: ...  # noqa: D102, N802

    @property
    def ROUTES(self) -> Sequence[Route]: ...  # noqa: D102, N802


PAGES: Final[Sequence[Page]] = (
    models,
    services,
    service,
    service_actions,
    reservations,
    service_forms,
    usage,
    requests,
    keys,
    money,
    statements,
    budgets,
    rate_rules,
    alerts,
    webhooks,
    access,
    teams,
    service_accounts,
    my_tokens,
    accounts,
    catalogue,
    prices,
    fleet,
    traffic,
    audit,
)
