"""The calls that set an account up, made on the control service of a what-if as its servicers would make them."""

from __future__ import annotations

from control_service.api import account_codec, budget_codec, catalog_codec, lifecycle_codec, rate_rule_codec
from control_service.api.fields import Fields
from control_service.domain.asker import Asker
from control_service.domain.errors import ControlError
from control_service.usecases.limits.budgets import create_budget
from control_service.usecases.limits.rate_rules import create_rate_rule
from control_service.usecases.people.accounts import create_account
from control_service.usecases.people.catalogue import create_model, publish_price
from control_service.usecases.people.lifecycle import create_with_billing, purchase_reservation
from control_service.usecases.people.payments import pay
from tallygate._access.rights import ALL_RIGHTS
from tallygate.control.v1 import (
    account_service_pb2,
    catalog_service_pb2,
    lifecycle_service_pb2,
    limit_service_pb2,
)
from tallygate.whatif.control import Control
from tallygate.whatif.settings import Settings, SetUp
from tallygate.whatif.toml_table import SettingsError

_ANYBODY = Asker("", (), ALL_RIGHTS)


async def set_up(control: Control, settings: Settings) -> None:
    """Makes all calls. Raises SettingsError with what control says of the first that it refuses."""
    for call in settings.calls:
        try:
            await _make(control, call)
        except ControlError as error:
            what = type(call).__name__.removesuffix("Request")
            raise SettingsError(f"{settings.file}: {what} is refused: {error.message}") from error


async def _make(control: Control, call: SetUp) -> None:
    match call:
        case account_service_pb2.CreateAccountRequest():
            account = account_codec.decode_create(call)
            await control.of_globals(lambda tx, act: create_account(tx, account, act))
        case account_service_pb2.TopUpAccountRequest():
            account_id, line = account_codec.decode_top_up(call)
            await control.of_account(account_id, lambda tx, account, act: pay(tx, account, line, act))
        case catalog_service_pb2.CreateModelRequest():
            model = catalog_codec.decode_create(call)
            await control.of_globals(lambda tx, act: create_model(tx, model, act))
        case catalog_service_pb2.PublishPriceRequest():
            model_id, price = catalog_codec.decode_publish(call)
            await control.of_globals(lambda tx, act: publish_price(tx, model_id, price, act))
        case lifecycle_service_pb2.CreateInferenceServiceRequest():
            account_id, new, billing = lifecycle_codec.decode_create(call)
            await control.of_account(
                account_id, lambda tx, account, act: create_with_billing(tx, account, new, billing, act)
            )
        case lifecycle_service_pb2.PurchaseReservationRequest():
            with Fields() as fields:
                account_id, service_id = fields.service("inference_service", call.inference_service)
                terms = lifecycle_codec.decode_terms(fields, "terms", call.terms)
            await control.of_account(
                account_id, lambda tx, account, act: purchase_reservation(tx, account, service_id, terms, act)
            )
        case limit_service_pb2.CreateRateRuleRequest():
            rule = rate_rule_codec.decode_create(call)
            await control.of_account(
                rule.place.account_id, lambda tx, _, act: create_rate_rule(tx, rule, _ANYBODY, act)
            )
        case limit_service_pb2.CreateBudgetRequest():
            account_id, budget = budget_codec.decode_create(call)
            await control.of_account(account_id, lambda tx, _, act: create_budget(tx, budget, _ANYBODY, act))
