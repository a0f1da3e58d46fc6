"""What the pages of access tokens share, whosever they are: another secret, and what ends or opens a token."""

from __future__ import annotations

from starlette.responses import Response

from tallygate.console.press import DANGER, Press
from tallygate.console.rotation import HOUR_S
from tallygate.console.visit import Visit
from tallygate.control.v1 import token_service_pb2 as pb
from tallygate.control.v1.token_service_pb2_grpc import TokenServiceStub


async def rotated(visit: Visit, name: str) -> pb.RotateAccessTokenResponse:
    """Give the token another secret, as the form says. Raises CallError."""
    request = pb.RotateAccessTokenRequest(
        name=name, overlap=visit.form.length("overlap", HOUR_S), idempotency_key=visit.idempotency_key
    )
    return await TokenServiceStub(visit.control).RotateAccessToken(request)


def secret_page(
    visit: Visit, answer: pb.CreateAccessTokenResponse | pb.RotateAccessTokenResponse, *, back: str, hint: str
) -> Response:
    """The only page that has the secret. `back`: the page of the tokens, below which each has its own."""
    token = answer.access_token.name.rpartition("/")[2]
    return visit.secret_page(
        "secret.html",
        said="The token is made.",
        secret=answer.secret,
        rotate=f"{back}/tokens/{token}/rotate",
        back=back,
        hint=hint,
    )


def token_presses(page: str, name: str, *, back: str, opens: str) -> tuple[Press, ...]:
    """Disable, enable and delete; `opens` is what an enabled token does again."""
    return (
        Press(
            path=f"{page}/disable",
            name=name,
            title="Disable the token {token}",
            says=("Within a second it opens nothing on any connected node, and its open streams are broken.",),
            button="Disable the token",
            done="The token is disabled.",
            back=back,
            stub=TokenServiceStub,
            request=pb.DisableAccessTokenRequest,
            kind=DANGER,
        ),
        Press(
            path=f"{page}/enable",
            name=name,
            title="Enable the token {token}",
            says=(opens,),
            button="Enable the token",
            done="The token is enabled.",
            back=back,
            stub=TokenServiceStub,
            request=pb.EnableAccessTokenRequest,
        ),
        Press(
            path=f"{page}/delete",
            name=name,
            title="Delete the token {token}",
            says=("It opens nothing any more, for good, and its open streams are broken.",),
            button="Delete the token",
            done="The token is deleted.",
            back=back,
            stub=TokenServiceStub,
            request=pb.DeleteAccessTokenRequest,
            kind=DANGER,
        ),
    )
