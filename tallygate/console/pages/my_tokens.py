"""Tokens of one's own: what a person proves themselves by where there is no browser, such as at the command line."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate.access.v1 import role_pb2
from tallygate.console import show
from tallygate.console.nav import Entry
from tallygate.console.rotation import OVERLAPS
from tallygate.console.routes import at
from tallygate.console.token_pages import rotated, secret_page, token_presses
from tallygate.console.visit import Visit
from tallygate.control.v1 import token_service_pb2 as pb
from tallygate.control.v1.token_service_pb2_grpc import TokenServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of tokens on a page."""
DAY_S: Final = 86_400
_LIST: Final = "/my-tokens"
_ITS_PAGE: Final = "/my-tokens/tokens/{token}"
_NAME: Final = "accessTokens/{token}"
_HINT: Final = "It is sent as a bearer token, or given to `tallygate` as TALLYGATE_TOKEN."
_PRESSES: Final = token_presses(_ITS_PAGE, _NAME, back=_LIST, opens="It opens again what you may do, or less.")


async def show_tokens(visit: Visit) -> Response:
    """A page of them, that of this sign-in included."""
    tokens, next_page = [], ""
    if visit.session.caller.is_person:
        request = pb.ListAccessTokensRequest(page_size=PAGE_SIZE, page_token=visit.query("page"))
        answer = await TokenServiceStub(visit.control).ListAccessTokens(request)
        tokens, next_page = list(answer.access_tokens), answer.next_page_token
    return visit.page("my_tokens.html", is_person=visit.session.caller.is_person, tokens=tokens, next_page=next_page)


async def show_create(visit: Visit) -> Response:
    """The form of a new one."""
    roles = [("", "All that you may do"), *show.enum_choices(role_pb2.Role)]
    return visit.page("create_token.html", page=_LIST, roles=roles)


async def create(visit: Visit) -> Response:
    """Make one; its secret is on the page that answers."""
    form = visit.form
    request = pb.CreateAccessTokenRequest(
        display_name=form.text("display_name"),
        valid_for=form.length("valid_for", DAY_S),
        narrowed_role=form.chosen("narrowed_role", role_pb2.Role),
        narrowed_scope=form.text("narrowed_scope"),
        idempotency_key=visit.idempotency_key,
    )
    answer = await TokenServiceStub(visit.control).CreateAccessToken(request)
    return secret_page(visit, answer, back=_LIST, hint=_HINT)


async def show_rotate(visit: Visit) -> Response:
    """What another secret does to the one before."""
    return visit.page(
        "rotate.html", overlaps=OVERLAPS, back=_LIST, what="token", says="", named=visit.request.path_params["token"]
    )


async def rotate(visit: Visit) -> Response:
    """Give one another secret, which is on the page that answers."""
    answer = await rotated(visit, _NAME.format(**visit.request.path_params))
    return secret_page(visit, answer, back=_LIST, hint=_HINT)


NAV: Final[tuple[Entry, ...]] = ()
ROUTES: Final = (
    at(_LIST, show_tokens),
    at(f"{_LIST}/create", show_create, create),
    at(f"{_ITS_PAGE}/rotate", show_rotate, rotate),
    *(press.route for press in _PRESSES),
)
