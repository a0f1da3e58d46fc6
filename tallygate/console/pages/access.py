"""Access to an account: who has which role on it and on its teams."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.access.v1.role_pb2 import Role
from tallygate.console import show
from tallygate.console.nav import Entry
from tallygate.console.reads import read_teams
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import access_service_pb2 as pb
from tallygate.control.v1.access_service_pb2_grpc import AccessServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of bindings on a page."""
OF_ACCOUNTS: Final = ("OWNER", "BILLING", "VIEWER", "METER", "TEAM_ADMIN", "TEAM_MEMBER")
"""Roles that somebody can have in an account or in a team, the greater first."""
_LIST: Final = "/accounts/{account}/access"


async def show_access(visit: Visit) -> Response:
    """A page of bindings on the account and within it."""
    request = pb.ListBindingsRequest(
        scope=visit.account, member=visit.query("member"), page_size=PAGE_SIZE, page_token=visit.query("page")
    )
    answer = await AccessServiceStub(visit.control).ListBindings(request)
    return visit.page(
        "access.html",
        bindings=answer.bindings,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.BINDINGS_MANAGE),
    )


async def show_give(visit: Visit) -> Response:
    """The form of a new binding."""
    known = dict(show.enum_choices(Role))
    roles = [(name, known[name]) for name in OF_ACCOUNTS]
    return visit.page("give_role.html", roles=roles, teams=await read_teams(visit))


async def give(visit: Visit) -> Response:
    """Give a role; the service decides who may give which."""
    form = visit.form
    team = form.text("team")
    request = pb.CreateBindingRequest(
        scope=f"{visit.account}/teams/{team}" if team else visit.account,
        member=form.text("member"),
        role=form.chosen("role", Role),
        idempotency_key=visit.idempotency_key,
    )
    await AccessServiceStub(visit.control).CreateBinding(request)
    return visit.done("The role is given.", f"/{visit.account}/access")


async def show_take(visit: Visit) -> Response:
    """What taking a role away does."""
    return visit.page("take_role.html")


async def take(visit: Visit) -> Response:
    """Take a role away."""
    request = pb.DeleteBindingRequest(name=visit.form.text("name"), idempotency_key=visit.idempotency_key)
    await AccessServiceStub(visit.control).DeleteBinding(request)
    return visit.done("The role is taken away.", f"/{visit.account}/access")


NAV: Final = (Entry("Access", _LIST, Permission.BINDINGS_READ),)
ROUTES: Final = (
    at(_LIST, show_access),
    at("/accounts/{account}/give-role", show_give, give),
    at("/accounts/{account}/take-role", show_take, take),
)
