"""Service accounts of an account, and the tokens by which programs prove themselves."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.rotation import HOUR_S, OVERLAPS
from tallygate.console.routes import at
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
    return _secret_page(visit, await TokenServiceStub(visit.control).CreateAccessToken(request))


async def show_rotate(visit: Visit) -> Response:
    """What another secret does to the one before."""
    return visit.page("rotate.html", overlaps=OVERLAPS, back=_page(visit), what="token", says="")


async def rotate(visit: Visit) -> Response:
    """Give a token another secret, which is on the page that answers."""
    request = pb.RotateAccessTokenRequest(
        name=f"{_name(visit)}/accessTokens/{visit.request.path_params['token']}",
        overlap=visit.form.length("overlap", HOUR_S),
        idempotency_key=visit.idempotency_key,
    )
    return _secret_page(visit, await TokenServiceStub(visit.control).RotateAccessToken(request))


def _secret_page(visit: Visit, answer: pb.CreateAccessTokenResponse | pb.RotateAccessTokenResponse) -> Response:
    token = answer.access_token.name.rpartition("/")[2]
    return visit.secret_page(
        "secret.html",
        said="The token is made.",
        secret=answer.secret,
        rotate=f"{_page(visit)}/tokens/{token}/rotate",
        back=_page(visit),
        hint="Programs send it as a bearer token.",
    )


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
    Press(
        path=f"{_ITS_PAGE}/disable",
        name=_ITS_NAME,
        title="Disable the token {token}",
        says=("Within a second it opens nothing on any connected node, and its open streams are broken.",),
        button="Disable the token",
        done="The token is disabled.",
        back=_ROBOT,
        stub=TokenServiceStub,
        request=pb.DisableAccessTokenRequest,
        kind=DANGER,
    ),
    Press(
        path=f"{_ITS_PAGE}/enable",
        name=_ITS_NAME,
        title="Enable the token {token}",
        says=("It opens again what its service account may do.",),
        button="Enable the token",
        done="The token is enabled.",
        back=_ROBOT,
        stub=TokenServiceStub,
        request=pb.EnableAccessTokenRequest,
    ),
    Press(
        path=f"{_ITS_PAGE}/delete",
        name=_ITS_NAME,
        title="Delete the token {token}",
        says=("It opens nothing any more, for good, and its open streams are broken.",),
        button="Delete the token",
        done="The token is deleted.",
        back=_ROBOT,
        stub=TokenServiceStub,
        request=pb.DeleteAccessTokenRequest,
        kind=DANGER,
    ),
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
