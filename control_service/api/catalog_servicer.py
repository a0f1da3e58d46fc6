"""CatalogService."""

from typing import Final

from typing_extensions import override

from control_service.api import catalog_codec as codec
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import Fields
from control_service.api.paging import decode_page
from control_service.domain.model import Model
from control_service.usecases.people.catalogue import (
    create_model,
    model_views,
    publish_price,
    update_model,
    withdraw_price,
)
from control_service.usecases.people.closing import set_retired
from control_service.usecases.ports import Database, Transaction
from tallygate._server.clock import Clock
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import catalog_service_pb2 as pb
from tallygate.control.v1 import catalog_service_pb2_grpc

_NEWEST: Final = 2**63 - 1


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    """Models and their prices."""

    def __init__(self, database: Database, clock: Clock, calls: Calls) -> None:
        self._database = database
        self._clock = clock
        self._calls = calls

    @override
    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> pb.CreateModelResponse:
        new = codec.decode_create(request)
        response = await self._calls.of_globals(
            Incoming(request, context), lambda tx, act: create_model(tx, new, act), codec.encode_created
        )
        return pb.CreateModelResponse.FromString(response)

    @override
    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        with Fields() as fields:
            model_id = fields.model("name", request.name)
        async with self._database.reading() as tx:
            (view,) = await model_views(tx, [await tx.models.get(model_id)], self._clock.now_us())
        return pb.GetModelResponse(model=codec.encode_model(view))

    @override
    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        with Fields() as fields:
            alias = fields.text("alias", request.alias)
            (after,), limit = decode_page(fields, request, ("",))
        async with self._database.reading() as tx:
            models = await _models(tx, alias, after, limit + 1)
            views = await model_views(tx, models, self._clock.now_us())
        page, token = encode_page(request, views, limit, codec.encode_model, lambda view: (view.model.model_id,))
        return pb.ListModelsResponse(models=page, next_page_token=token)

    @override
    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.UpdateModelResponse:
        model_id, update = codec.decode_update(request)
        response = await self._calls.of_globals(
            Incoming(request, context), lambda tx, act: update_model(tx, model_id, update, act), codec.encode_updated
        )
        return pb.UpdateModelResponse.FromString(response)

    @override
    async def RetireModel(self, request: pb.RetireModelRequest, context: Context) -> pb.RetireModelResponse:
        with Fields() as fields:
            model_id = fields.model("name", request.name)
        response = await self._calls.of_globals(
            Incoming(request, context),
            lambda tx, act: set_retired(tx, model_id, act, retired=True),
            codec.encode_retired,
        )
        return pb.RetireModelResponse.FromString(response)

    @override
    async def RestoreModel(self, request: pb.RestoreModelRequest, context: Context) -> pb.RestoreModelResponse:
        with Fields() as fields:
            model_id = fields.model("name", request.name)
        response = await self._calls.of_globals(
            Incoming(request, context),
            lambda tx, act: set_retired(tx, model_id, act, retired=False),
            codec.encode_restored,
        )
        return pb.RestoreModelResponse.FromString(response)

    @override
    async def PublishPrice(self, request: pb.PublishPriceRequest, context: Context) -> pb.PublishPriceResponse:
        model_id, price = codec.decode_publish(request)
        response = await self._calls.of_globals(
            Incoming(request, context), lambda tx, act: publish_price(tx, model_id, price, act), codec.encode_published
        )
        return pb.PublishPriceResponse.FromString(response)

    @override
    async def WithdrawPrice(self, request: pb.WithdrawPriceRequest, context: Context) -> pb.WithdrawPriceResponse:
        with Fields() as fields:
            model_id, version = fields.price("name", request.name)
        response = await self._calls.of_globals(
            Incoming(request, context),
            lambda tx, act: withdraw_price(tx, model_id, version, act),
            codec.encode_withdrawn,
        )
        return pb.WithdrawPriceResponse.FromString(response)

    @override
    async def ListPrices(self, request: pb.ListPricesRequest, context: Context) -> pb.ListPricesResponse:
        with Fields() as fields:
            model_id = fields.model("model", request.model)
            (before,), limit = decode_page(fields, request, (_NEWEST,))
        async with self._database.reading() as tx:
            await tx.models.get(model_id)
            prices = await tx.models.prices_page(model_id, before, limit + 1)
        page, token = encode_page(request, prices, limit, codec.encode_price, lambda price: (price.version,))
        return pb.ListPricesResponse(prices=page, next_page_token=token)


async def _models(tx: Transaction, alias: str, after: str, limit: int) -> list[Model]:
    if not alias:
        return await tx.models.page(after, limit)
    model = await tx.models.with_alias(alias)
    return [model] if model is not None and model.model_id > after else []
