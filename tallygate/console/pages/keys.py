"""API keys: what end users show to inference servers, and what each of them may be used for."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import show
from tallygate.console.currency import currency_of
from tallygate.console.forms import FieldError
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.reads import read_teams
from tallygate.console.rotation import HOUR_S, OVERLAPS
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import api_key_pb2
from tallygate.control.v1 import key_service_pb2 as pb
from tallygate.control.v1.api_key_config_pb2 import ModelRoute
from tallygate.control.v1.api_key_pb2 import ApiKey
from tallygate.control.v1.key_service_pb2_grpc import KeyServiceStub
from tallygate.metering.v1.usage_service_pb2 import QueryUsageRequest, QueryUsageResponse
from tallygate.metering.v1.usage_service_pb2_grpc import UsageServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of keys on a page."""
DAYS: Final = 30
"""Number of days whose usage is shown."""
DAY_S: Final = 86_400
_US_PER_S: Final = 1_000_000
_LIST: Final = "/accounts/{account}/keys"
_KEY: Final = "/accounts/{account}/keys/{key}"
_NAME: Final = "accounts/{account}/keys/{key}"


async def show_keys(visit: Visit) -> Response:
    """A page of keys, by name."""
    request = pb.ListKeysRequest(
        account=visit.account, team=visit.query("team"), page_size=PAGE_SIZE, page_token=visit.query("page")
    )
    answer, teams = await asyncio.gather(KeyServiceStub(visit.control).ListKeys(request), read_teams(visit))
    return visit.page(
        "keys.html",
        keys=answer.keys,
        teams=teams,
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.KEYS_MANAGE),
    )


async def show_key(visit: Visit) -> Response:
    """A key, what it was used for lately, and what may be done about it."""
    key = (await KeyServiceStub(visit.control).GetKey(pb.GetKeyRequest(name=_key_name(visit)))).key
    used, currency = await asyncio.gather(_used(visit, key), currency_of(visit))
    return visit.page(
        "key.html",
        key=key,
        used=used,
        currency=currency,
        days=_by_day(used),
        may_manage=visit.may(Permission.KEYS_MANAGE, key.team) and not key.HasField("delete_time"),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new key."""
    return visit.page("create_key.html", teams=await read_teams(visit))


async def create(visit: Visit) -> Response:
    """Create the key; its secret is on the page that answers, and nowhere else."""
    form = visit.form
    request = pb.CreateKeyRequest(
        name=f"{visit.account}/keys/{form.text('name')}",
        display_name=form.text("display_name"),
        team=form.text("team"),
        owner=form.text("owner"),
        scope=_scope(visit),
        routes=_routes(visit),
        networks=_networks(visit),
        expire_time=form.time("expire_time"),
        temporary_for=form.length("temporary_for", HOUR_S),
        idempotency_key=visit.idempotency_key,
    )
    answer = await KeyServiceStub(visit.control).CreateKey(request)
    return _secret_page(visit, answer, "The key is created.")


async def show_edit(visit: Visit) -> Response:
    """The form of a key that there is."""
    key = (await KeyServiceStub(visit.control).GetKey(pb.GetKeyRequest(name=_key_name(visit)))).key
    return visit.page("edit_key.html", key=key)


async def edit(visit: Visit) -> Response:
    """Change what was changed on the page; what somebody else has changed meanwhile stays."""
    form = visit.form
    end = form.time("expire_time") if form.changed("expire_time") else None
    request = pb.UpdateKeyRequest(
        name=_key_name(visit),
        display_name=form.text("display_name") if form.changed("display_name") else None,
        scope=_scope(visit) if form.changed("scope.services") or form.changed("scope.models") else None,
        routes=_routes(visit) if form.changed("routes.routes") else None,
        networks=_networks(visit) or api_key_pb2.KeyNetworks() if form.changed("networks.networks") else None,
        expire_time=end,
        clear_expire_time=end is None and form.changed("expire_time"),
        idempotency_key=visit.idempotency_key,
    )
    await KeyServiceStub(visit.control).UpdateKey(request)
    return visit.done("The key is changed.", f"/{_key_name(visit)}")


async def show_rotate(visit: Visit) -> Response:
    """What another secret does to the one before."""
    return visit.page("rotate.html", overlaps=OVERLAPS, back=f"/{_key_name(visit)}", what="key", says="")


async def rotate(visit: Visit) -> Response:
    """Give it another secret, which is on the page that answers."""
    overlap = visit.form.length("overlap", HOUR_S)
    request = pb.RotateKeyRequest(name=_key_name(visit), overlap=overlap, idempotency_key=visit.idempotency_key)
    answer = await KeyServiceStub(visit.control).RotateKey(request)
    return _secret_page(visit, answer, "The key has another secret.")


def _secret_page(visit: Visit, answer: pb.CreateKeyResponse | pb.RotateKeyResponse, said: str) -> Response:
    return visit.secret_page(
        "secret.html",
        said=said,
        secret=answer.secret,
        rotate=f"/{answer.key.name}/rotate",
        back=f"/{answer.key.name}",
        hint="End users show it to inference servers, as an API key.",
    )


def _key_name(visit: Visit) -> str:
    return f"{visit.account}/keys/{visit.request.path_params['key']}"


def _scope(visit: Visit) -> api_key_pb2.KeyScope:
    """Services and models by their ids or names; all of them where none is named."""
    services, models = visit.form.lines("scope.services"), visit.form.lines("scope.models")
    return api_key_pb2.KeyScope(
        all_services=not services,
        services=[_service(visit, one) for one in services],
        all_models=not models,
        models=[_model(one) for one in models],
    )


def _routes(visit: Visit) -> api_key_pb2.KeyRoutes:
    """Which service a model leads to, a line each. Raises FieldError."""
    routes = []
    for line in visit.form.lines("routes.routes"):
        model, _, service = (part.strip() for part in line.partition("="))
        if not model or not service:
            raise FieldError("routes.routes", f"{line!r} is no route; write MODEL = SERVICE, such as llama = chat.")
        routes.append(ModelRoute(model=_model(model), service=_service(visit, service)))
    return api_key_pb2.KeyRoutes(routes=routes)


def _service(visit: Visit, text: str) -> str:
    return text if "/" in text else f"{visit.account}/services/{text}"


def _model(text: str) -> str:
    return text if text.startswith("models/") else f"models/{text}"


def _networks(visit: Visit) -> api_key_pb2.KeyNetworks | None:
    networks = visit.form.lines("networks.networks")
    return api_key_pb2.KeyNetworks(networks=networks) if networks else None


async def _used(visit: Visit, key: ApiKey) -> QueryUsageResponse | None:
    """What the key used, by the day of UTC; None for who may not see it, and where nobody answers."""
    if not visit.may(Permission.USAGE_READ, key.team):
        return None
    end_s = visit.site.clock.now_us() // _US_PER_S // DAY_S * DAY_S + DAY_S
    request = QueryUsageRequest(
        start_time=Timestamp(seconds=end_s - DAYS * DAY_S),
        end_time=Timestamp(seconds=end_s),
        step=Duration(seconds=DAY_S),
        services=[visit.account],
        credential=key.uid,
    )
    answer: QueryUsageResponse | None = await visit.unless_away(UsageServiceStub(visit.metering).QueryUsage(request))
    return answer


def _by_day(used: QueryUsageResponse | None) -> dict[str, Any]:
    """Tokens of each day, and the last day on which there were requests."""
    if used is None or not used.buckets:
        return {"tokens": [0] * DAYS, "last": None}
    end_s = used.total.end_time.seconds
    tokens = [0] * DAYS
    for bucket in used.buckets:
        tokens[DAYS - 1 - (end_s - bucket.end_time.seconds) // DAY_S] += show.total(bucket.usage)
    return {"tokens": tokens, "last": used.buckets[-1].start_time}


_PRESSES: Final = (
    Press(
        path=f"{_KEY}/disable",
        name=_NAME,
        title="Disable the key {key}",
        says=(
            "Within half a second it opens nothing on any connected node; requests that run with it are told to stop.",
            "It can be enabled again, with the same secret.",
        ),
        button="Disable the key",
        done="The key is disabled.",
        back=_KEY,
        stub=KeyServiceStub,
        request=pb.DisableKeyRequest,
        kind=DANGER,
    ),
    Press(
        path=f"{_KEY}/enable",
        name=_NAME,
        title="Enable the key {key}",
        says=("It opens again what it is for, with the secret that it had.",),
        button="Enable the key",
        done="The key is enabled.",
        back=_KEY,
        stub=KeyServiceStub,
        request=pb.EnableKeyRequest,
    ),
    Press(
        path=f"{_KEY}/delete",
        name=_NAME,
        title="Delete the key {key}",
        says=(
            "It opens nothing any more, for good, and requests that run with it are told to stop.",
            "Its name is never used again. What it used stays in the books.",
        ),
        button="Delete the key",
        done="The key is deleted.",
        back=_LIST,
        stub=KeyServiceStub,
        request=pb.DeleteKeyRequest,
        kind=DANGER,
    ),
)

NAV: Final = (Entry("Keys", _LIST, Permission.KEYS_READ),)
ROUTES: Final = (
    at(_LIST, show_keys),
    at("/accounts/{account}/create-key", show_create, create),
    at(_KEY, show_key),
    at(f"{_KEY}/edit", show_edit, edit),
    at(f"{_KEY}/rotate", show_rotate, rotate),
    *(press.route for press in _PRESSES),
)
