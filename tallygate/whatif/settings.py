"""Settings of a what-if, from a file: the calls that set an account up so, and who serves what."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration

from tallygate.control.v1 import (
    account_pb2,
    account_service_pb2,
    budget_pb2,
    catalog_service_pb2,
    lifecycle_service_pb2,
    limit_config_pb2,
    limit_service_pb2,
    model_pb2,
    reservation_pb2,
)
from tallygate.whatif.toml_table import SettingsError, TomlTable

ACCOUNT = "accounts/what-if"
DAY_S = 86_400
DAYS_MAX = 36_600
"""Maximum number of days that can be said: a hundred years."""

SetUp: TypeAlias = (
    account_service_pb2.CreateAccountRequest
    | account_service_pb2.TopUpAccountRequest
    | catalog_service_pb2.CreateModelRequest
    | catalog_service_pb2.PublishPriceRequest
    | lifecycle_service_pb2.CreateInferenceServiceRequest
    | lifecycle_service_pb2.PurchaseReservationRequest
    | limit_service_pb2.CreateRateRuleRequest
    | limit_service_pb2.CreateBudgetRequest
)
"""A call that sets the account up."""

_OVERFLOW = {"bill": reservation_pb2.OVERFLOW_POLICY_BILL_BY_TOKEN, "refuse": reservation_pb2.OVERFLOW_POLICY_REFUSE}
_OVERDUE = {"stop-all": account_pb2.OVERDUE_POLICY_STOP_ALL, "keep-funded": account_pb2.OVERDUE_POLICY_KEEP_FUNDED}
_METRICS = {
    "requests": limit_config_pb2.RATE_METRIC_REQUESTS,
    "input-tokens": limit_config_pb2.RATE_METRIC_INPUT_TOKENS,
    "output-tokens": limit_config_pb2.RATE_METRIC_OUTPUT_TOKENS,
    "tokens": limit_config_pb2.RATE_METRIC_TOTAL_TOKENS,
}
_EVERY = {
    "day": budget_pb2.CALENDAR_PERIOD_DAY,
    "week": budget_pb2.CALENDAR_PERIOD_WEEK,
    "month": budget_pb2.CALENDAR_PERIOD_MONTH,
    "never": budget_pb2.CALENDAR_PERIOD_IN_ALL,
}


@dataclass(frozen=True, slots=True)
class Served:
    """A service of the settings. `sources`: models or kinds of requests that it serves; none: all that is left.

    `price` and `reservation_price`: what it is sold for, for the search of the cheapest reservation.
    """

    name: str
    sources: tuple[str, ...]
    price: catalog_service_pb2.PublishPriceRequest | None
    reservation_price: model_pb2.ReservationPrice | None


@dataclass(frozen=True, slots=True)
class Settings:
    """One set of settings. `calls` are in the order in which they are made."""

    file: str
    name: str
    currency: str
    calls: tuple[SetUp, ...]
    services: tuple[Served, ...]

    def service_of(self, source: str) -> str:
        """The service that serves a source. Raises SettingsError where none does."""
        for service in self.services:
            if source in service.sources:
                return service.name
        others = [service.name for service in self.services if not service.sources]
        if not others:
            raise SettingsError(f'{self.file}: no service serves "{source}"; add it to the "serves" of one')
        return others[0]


def read_settings(path: Path) -> Settings:
    """Reads settings. Raises SettingsError for the first thing that is wrong with them."""
    try:
        with path.open("rb") as file:
            values = tomllib.load(file, parse_float=Decimal)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    top = TomlTable(str(path), "", values)
    name = top.text("name", path.stem)
    currency = top.text("currency", "USD")
    calls: list[SetUp] = [*_account(top, currency)]
    services: list[Served] = []
    for service_id, table in top.named_tables("services"):
        served, its_calls = _service(service_id, table, currency)
        services.append(served)
        calls += its_calls
    calls += [_rate_rule(index, table) for index, table in enumerate(top.tables("rate_rules"), start=1)]
    calls += [_budget(index, table) for index, table in enumerate(top.tables("budgets"), start=1)]
    top.done()
    _check_sources(str(path), services)
    return Settings(str(path), name, currency, tuple(calls), tuple(services))


def service_name(service_id: str) -> str:
    """The full name of a service of the settings."""
    return f"{ACCOUNT}/services/{service_id}"


def _check_sources(file: str, services: Sequence[Served]) -> None:
    if not services:
        raise SettingsError(f"{file}: there is no service; begin one with [services.chat]")
    others = [service.name for service in services if not service.sources]
    if len(others) > 1:
        raise SettingsError(f'{file}: {" and ".join(others)} both serve all that is left; say what by "serves"')
    sources = [source for service in services for source in service.sources]
    for source in sources:
        if sources.count(source) > 1:
            raise SettingsError(f'{file}: "{source}" is served by two services')


def _account(top: TomlTable, currency: str) -> Iterator[SetUp]:
    yield account_service_pb2.CreateAccountRequest(
        name=ACCOUNT,
        currency_code=currency,
        credit_limit_nanos=top.money("credit_limit", 0),
        overdue_floor_nanos=top.money("overdue_floor", None),
        overdue_policy=top.choice("overdue_policy", _OVERDUE, account_pb2.OVERDUE_POLICY_UNSPECIFIED),
    )
    if balance_nanos := top.money("balance", 0):
        yield account_service_pb2.TopUpAccountRequest(name=ACCOUNT, amount_nanos=balance_nanos)


def _service(service_id: str, table: TomlTable, currency: str) -> tuple[Served, list[SetUp]]:
    """A service, which has a model of its own with its prices and its trial."""
    trial, sold = table.table("trial"), table.table("reservation_prices")
    offer = None if trial is None else _trial_offer(trial)
    reservation_price = None if sold is None else _reservation_price(sold)
    price = None if (prices := table.table("prices")) is None else _price(service_id, prices)
    billing = lifecycle_service_pb2.InitialBilling(
        claim_free_trial=offer is not None, enable_postpaid=table.flag("postpaid")
    )
    calls: list[SetUp] = [
        catalog_service_pb2.CreateModelRequest(
            name=f"models/{service_id}",
            currency_code=currency,
            trial_offer=offer,
            reservation_price=reservation_price,
            smallest_request_tokens=table.number("smallest_request_tokens", None),
        ),
        *([] if price is None else [price]),
        lifecycle_service_pb2.CreateInferenceServiceRequest(
            name=service_name(service_id), model=f"models/{service_id}", billing=billing
        ),
    ]
    calls += [_reservation(service_id, one) for one in table.tables("reservations")]
    served = Served(service_id, tuple(table.texts("serves")), price, reservation_price)
    table.done()
    return served, calls


def _trial_offer(table: TomlTable) -> model_pb2.TrialOffer:
    days = table.number("days", 0, most=DAYS_MAX)
    offer = model_pb2.TrialOffer(
        quota_tokens=table.number("tokens"), valid_for=Duration(seconds=days * DAY_S) if days else None
    )
    table.done()
    return offer


def _price(service_id: str, table: TomlTable) -> catalog_service_pb2.PublishPriceRequest:
    price = catalog_service_pb2.PublishPriceRequest(
        model=f"models/{service_id}",
        input_nanos_per_million_tokens=table.money("input"),
        cached_input_nanos_per_million_tokens=table.money("cached_input", None),
        cache_write_nanos_per_million_tokens=table.money("cache_write", None),
        output_nanos_per_million_tokens=table.money("output"),
        reasoning_nanos_per_million_tokens=table.money("reasoning", None),
    )
    table.done()
    return price


def _reservation_price(table: TomlTable) -> model_pb2.ReservationPrice:
    price = model_pb2.ReservationPrice(
        input_nanos_per_thousand_tpm_day=table.money("input"), output_nanos_per_thousand_tpm_day=table.money("output")
    )
    table.done()
    return price


def _reservation(service_id: str, table: TomlTable) -> lifecycle_service_pb2.PurchaseReservationRequest:
    terms = lifecycle_service_pb2.ReservationTerms(
        input_tokens_per_minute=table.number("input_tpm", 0),
        output_tokens_per_minute=table.number("output_tpm", 0),
        term_day_count=table.number("days", most=DAYS_MAX),
        overflow_policy=table.choice("overflow", _OVERFLOW, reservation_pb2.OVERFLOW_POLICY_BILL_BY_TOKEN),
    )
    table.done()
    return lifecycle_service_pb2.PurchaseReservationRequest(inference_service=service_name(service_id), terms=terms)


def _rate_rule(index: int, table: TomlTable) -> limit_service_pb2.CreateRateRuleRequest:
    metric = table.choice("metric", _METRICS, limit_config_pb2.RATE_METRIC_UNSPECIFIED)
    rule = limit_service_pb2.CreateRateRuleRequest(
        name=f"{ACCOUNT}/rateRules/rule-{index}",
        place=_place(table),
        metric=metric,
        limit_units=table.number("limit"),
        period=Duration(seconds=table.number("seconds", 60, most=DAY_S)),
        burst_units=table.number("burst", 0),
        dry_run=table.flag("dry_run"),
    )
    table.done()
    return rule


def _budget(index: int, table: TomlTable) -> limit_service_pb2.CreateBudgetRequest:
    tokens, money_nanos = table.number("tokens", None), table.money("money", None)
    amount_units = money_nanos if tokens is None else tokens
    if amount_units is None or (tokens is not None and money_nanos is not None):
        raise table.error("tokens", "or money must be said, one of the two")
    budget = limit_service_pb2.CreateBudgetRequest(
        name=f"{ACCOUNT}/budgets/budget-{index}",
        place=_place(table),
        unit=budget_pb2.BUDGET_UNIT_TOKENS if money_nanos is None else budget_pb2.BUDGET_UNIT_MONEY,
        amount_units=amount_units,
        period=table.choice("every", _EVERY, budget_pb2.CALENDAR_PERIOD_IN_ALL),
        time_zone=table.text("zone", ""),
        soft=table.flag("soft"),
    )
    table.done()
    return budget


def _place(table: TomlTable) -> str:
    service_id = table.text("service", "")
    return service_name(service_id) if service_id else ACCOUNT
