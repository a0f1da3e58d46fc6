"""Budgets that run out, and what must be true of their pots at the end."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc

from tallygate.control.v1 import budget_pb2, limit_config_pb2, limit_service_pb2, limit_service_pb2_grpc

DAILY: Final = "accounts/capped/budgets/daily"
RAISE_TOKENS: Final = 60_000
TOKENS, MONEY = budget_pb2.BUDGET_UNIT_TOKENS, budget_pb2.BUDGET_UNIT_MONEY
DAY, MONTH, IN_ALL = (
    budget_pb2.CALENDAR_PERIOD_DAY,
    budget_pb2.CALENDAR_PERIOD_MONTH,
    budget_pb2.CALENDAR_PERIOD_IN_ALL,
)
PAYERS: Final = ("reserved", "trial", "billed", "unfunded")


async def create(channel: grpc.aio.Channel) -> None:
    """Some on an account of their own, one beside each other way to pay; the soft one never stops anything."""
    stub = limit_service_pb2_grpc.LimitServiceStub(channel)
    for request in (
        limit_service_pb2.CreateBudgetRequest(name=DAILY, unit=TOKENS, amount_units=100_000, period=DAY),
        limit_service_pb2.CreateBudgetRequest(
            name="accounts/capped/budgets/monthly", unit=MONEY, amount_units=30_000_000, period=MONTH
        ),
        limit_service_pb2.CreateBudgetRequest(
            name="accounts/capped/budgets/each",
            unit=TOKENS,
            amount_units=10**9,
            period=IN_ALL,
            member=limit_config_pb2.LIMIT_MEMBER_EACH_SERVICE,
        ),
        limit_service_pb2.CreateBudgetRequest(
            name="accounts/rich/budgets/soft", unit=TOKENS, amount_units=50_000, period=DAY, soft=True
        ),
        limit_service_pb2.CreateBudgetRequest(
            name="accounts/trial/budgets/half",
            place="accounts/trial/services/default-llama",
            unit=TOKENS,
            amount_units=25_000,
            period=IN_ALL,
        ),
    ):
        await stub.CreateBudget(request)


async def raise_daily(channel: grpc.aio.Channel) -> None:
    """More for today."""
    stub = limit_service_pb2_grpc.LimitServiceStub(channel)
    budget = (await stub.GetBudget(limit_service_pb2.GetBudgetRequest(name=DAILY))).budget
    amount = budget.amount_units + RAISE_TOKENS
    await stub.UpdateBudget(limit_service_pb2.UpdateBudgetRequest(name=DAILY, amount_units=amount))


Key: TypeAlias = tuple[str, str, int]
Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Noted:
    """What records say of pots and accounts."""

    units: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    overrun_tokens: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    tokens_of_account: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, record: Row) -> None:
        """One part of a request."""
        tokens = sum(sum(json.loads(str(record[payer]))) for payer in PAYERS)
        self.tokens_of_account[str(record["service"]).split("/")[1]] += tokens
        for kind, limit_uid, member_uid, period_start_us in json.loads(str(record["pots"])):
            if kind not in ("budget_tokens", "budget_money"):
                continue
            key = (limit_uid, member_uid, period_start_us)
            self.units[key] += record["cost_nanos"] if kind == "budget_money" else tokens
            self.overrun_tokens[key] += record["overrun_tokens"]


def wrong_pots(budgets: Iterable[Row], pots: Iterable[Row], records: Iterable[Row]) -> Iterator[str]:
    """A sentence for each pot that has something else spent than its requests used, has too much, or less back."""
    of_uid, noted, known = {budget["uid"]: budget for budget in budgets}, Noted(), set()
    for record in records:
        noted.add(record)
    for pot in pots:
        key = (pot["limit_uid"], pot["member_uid"], pot["period_start_us"])
        known.add(key)
        yield from _wrong_pot(of_uid[pot["limit_uid"]], pot, noted, key)
    for key in noted.units.keys() - known:
        yield f"Records have {noted.units[key]} units on a pot that control does not have: {key}."


def _wrong_pot(budget: Row, pot: Row, noted: Noted, key: Key) -> Iterator[str]:
    what, spent, of_records = f"{budget['account_id']}/{budget['budget_id']}", pot["spent_units"], noted.units[key]
    if spent != of_records:
        yield f"The pot of {what} has {spent} units spent, records have {of_records}."
    if pot["leased_units"]:
        yield f"Of the pot of {what} {pot['leased_units']} units never came back."
    if budget["unit"] == "MONEY":
        return
    of_account, overrun = noted.tokens_of_account[budget["account_id"]], noted.overrun_tokens[key]
    if of_records != of_account:
        yield f"Requests on the pot of {what} used {of_records} tokens, all requests of the account used {of_account}."
    if not budget["soft"] and spent > budget["amount_units"] + overrun:
        yield f"Of {what} {spent} tokens are spent of {budget['amount_units']}, with {overrun} of overrun."
