"""Service accounts of an account, and the tokens by which programs prove themselves."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.rotation import OVERLAPS
from tallygate.console.routes import at
from tallygate.console.token_pages import rotated, secret_page, token_presses
from tallygate.console.visit import Visit
from tallygate.control.v1 import token_service_pb2 as pb
from tallygate.control.v1.token_service_pb2_grpc import TokenServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of service accounts, or of tokens, on a page."""
DAY_S: Final = 86_400
_LIST: Final = "/accounts/{account}/service-accounts"
_ROBOT: Final = "/accounts/{account}/service-accounts/{robot}"
_NAME: Final = "accounts/{account}/serviceAccounts/{robot}"
_ITS_PAGE: Final = "/accounts/{account}/service-accounts/{robot}/tokens/{token}"
_ITS_NAME: Final = "accounts/{account}/serviceAccounts/{robot}/accessTokens/{token}"
_HINT: Final = "Programs send it as a bearer token."


async def show_robots(visit: Visit) -> Response:
    """A page of the account's service accounts, those of its teams included."""
    request = pb.ListServiceAccountsRequest(scope=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await TokenServiceStub(visit.control).ListServiceAccounts(request)
    return visit.page(
        "service_accounts.html",
        robots=answer.service_accounts,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.SERVICE_ACCOUNTS_MANAGE),
    )


async def show_robot(visit: Visit) -> Response:
    """A service account's tokens."""
    request = pb.ListAccessTokensRequest(
        service_account=_name(visit), page_size=PAGE_SIZE, page_token=visit.query("page")
    )
    answer = await TokenServiceStub(visit.control).ListAccessTokens(request)
    return visit.page(
        "service_account.html",
        name=_name(visit),
        tokens=answer.access_tokens,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.SERVICE_ACCOUNTS_MANAGE),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new service account."""
    return visit.page("create_service_account.html")


async def create(visit: Visit) -> Response:
    """Create it, without any role."""
    name = f"{visit.account}/serviceAccounts/{visit.form.text('name')}"
    request = pb.CreateServiceAccountRequest(
        name=name, display_name=visit.form.text("display_name"), idempotency_key=visit.idempotency_key
    )
    await TokenServiceStub(visit.control).CreateServiceAccount(request)
    page = f"/{visit.account}/service-accounts/{visit.form.text('name')}"
    return visit.done(f"It is created. Give serviceAccount:{name} a role.", page)


async def show_new_token(visit: Visit) -> Response:
    """The form of a new token."""
    return visit.page("create_token.html", page=_page(visit))


async def new_token(visit: Visit) -> Response:
    """Make a token; its secret is on the page that answers."""
    request = pb.CreateAccessTokenRequest(
        service_account=_name(visit),
        display_name=visit.form.text("display_name"),
        valid_for=visit.form.length("valid_for", DAY_S),
        idempotency_key=visit.idempotency_key,
    )
    answer = await TokenServiceStub(visit.control).CreateAccessToken(request)
    return secret_page(visit, answer, back=_page(visit), hint=_HINT)


async def show_rotate(visit: Visit) -> Response:
    """What another secret does to the one before."""
    return visit.page("rotate.html", overlaps=OVERLAPS, back=_page(visit), what="token", says="")


async def rotate(visit: Visit) -> Response:
    """Give a token another secret, which is on the page that answers."""
    answer = await rotated(visit, f"{_name(visit)}/accessTokens/{visit.request.path_params['token']}")
    return secret_page(visit, answer, back=_page(visit), hint=_HINT)


def _name(visit: Visit) -> str:
    return f"{visit.account}/serviceAccounts/{visit.request.path_params['robot']}"


def _page(visit: Visit) -> str:
    return f"/{visit.account}/service-accounts/{visit.request.path_params['robot']}"


_PRESSES: Final = (
    Press(
        path=f"{_ROBOT}/delete",
        name=_NAME,
        title="Delete the service account {robot}",
        says=("Its tokens open nothing any more, and its roles are gone.", "Its name is never used again."),
        button="Delete the service account",
        done="The service account is deleted.",
        back=_LIST,
        stub=TokenServiceStub,
        request=pb.DeleteServiceAccountRequest,
        kind=DANGER,
    ),
    *token_presses(_ITS_PAGE, _ITS_NAME, back=_ROBOT, opens="It opens again what its service account may do."),
)

NAV: Final = (Entry("Service accounts", _LIST, Permission.SERVICE_ACCOUNTS_READ),)
ROUTES: Final = (
    at(_LIST, show_robots),
    at("/accounts/{account}/create-service-account", show_create, create),
    at(_ROBOT, show_robot),
    at(f"{_ROBOT}/create-token", show_new_token, new_token),
    at(f"{_ITS_PAGE}/rotate", show_rotate, rotate),
    *(press.route for press in _PRESSES),
)
