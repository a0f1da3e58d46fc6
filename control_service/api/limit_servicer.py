"""LimitService."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from google.protobuf.message import Message
from typing_extensions import override

from control_service.api import budget_codec, rate_rule_codec
from control_service.api.asking import current_asker
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import Fields
from control_service.api.limit_fields import decode_budget_name, decode_place, decode_rate_rule_name
from control_service.api.paging import decode_page
from control_service.domain.limit import LimitSubject
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limit_ports import LimitFilter
from control_service.usecases.limits.budgets import create_budget, delete_budget, get_budget, update_budget
from control_service.usecases.limits.places import living_place
from control_service.usecases.limits.rate_rules import (
    create_rate_rule,
    delete_rate_rule,
    get_rate_rule,
    update_rate_rule,
)
from control_service.usecases.ports import Database, Transaction
from tallygate._access.permission import Permission
from tallygate._server.clock import Clock
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import limit_service_pb2 as pb
from tallygate.control.v1 import limit_service_pb2_grpc

Result = TypeVar("Result")


class LimitServicer(limit_service_pb2_grpc.LimitServiceServicer):
    """Rate rules of accounts and models, and budgets of accounts."""

    def __init__(self, database: Database, clock: Clock, calls: Calls) -> None:
        self._database = database
        self._clock = clock
        self._calls = calls

    @override
    async def CreateRateRule(self, request: pb.CreateRateRuleRequest, context: Context) -> pb.CreateRateRuleResponse:
        new, asker = rate_rule_codec.decode_create(request), current_asker()
        response = await self._of_subject(
            Incoming(request, context),
            new.place.subject,
            lambda tx, act: create_rate_rule(tx, new, asker, act),
            lambda rule: pb.CreateRateRuleResponse(rate_rule=rate_rule_codec.encode_rate_rule(rule)),
        )
        return pb.CreateRateRuleResponse.FromString(response)

    @override
    async def GetRateRule(self, request: pb.GetRateRuleRequest, context: Context) -> pb.GetRateRuleResponse:
        with Fields() as fields:
            subject, rule_id = decode_rate_rule_name(fields, request.name)
        async with self._database.reading() as tx:
            rule = await get_rate_rule(tx, subject, rule_id, current_asker())
        return pb.GetRateRuleResponse(rate_rule=rate_rule_codec.encode_rate_rule(rule))

    @override
    async def ListRateRules(self, request: pb.ListRateRulesRequest, context: Context) -> pb.ListRateRulesResponse:
        with Fields() as fields:
            subject = _decode_subject(fields, request)
            wanted = _decode_filter(fields, request.place, subject)
            (after,), limit = decode_page(fields, request, ("",))
        async with self._database.reading() as tx:
            wanted = await _located(tx, wanted)
            rules = await tx.rate_rules.page(wanted, after, limit + 1)
        encode = rate_rule_codec.encode_rate_rule
        page, token = encode_page(request, rules, limit, encode, lambda rule: (rule.rule_id,))
        return pb.ListRateRulesResponse(rate_rules=page, next_page_token=token)

    @override
    async def UpdateRateRule(self, request: pb.UpdateRateRuleRequest, context: Context) -> pb.UpdateRateRuleResponse:
        (subject, rule_id, update), asker = rate_rule_codec.decode_update(request), current_asker()
        response = await self._of_subject(
            Incoming(request, context),
            subject,
            lambda tx, act: update_rate_rule(tx, subject, rule_id, update, asker=asker, act=act),
            lambda rule: pb.UpdateRateRuleResponse(rate_rule=rate_rule_codec.encode_rate_rule(rule)),
        )
        return pb.UpdateRateRuleResponse.FromString(response)

    @override
    async def DeleteRateRule(self, request: pb.DeleteRateRuleRequest, context: Context) -> pb.DeleteRateRuleResponse:
        with Fields() as fields:
            subject, rule_id = decode_rate_rule_name(fields, request.name)
        asker = current_asker()
        response = await self._of_subject(
            Incoming(request, context),
            subject,
            lambda tx, act: delete_rate_rule(tx, subject, rule_id, asker, act),
            lambda rule: pb.DeleteRateRuleResponse(rate_rule=rate_rule_codec.encode_rate_rule(rule)),
        )
        return pb.DeleteRateRuleResponse.FromString(response)

    @override
    async def CreateBudget(self, request: pb.CreateBudgetRequest, context: Context) -> pb.CreateBudgetResponse:
        (account_id, new), asker = budget_codec.decode_create(request), current_asker()
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, _, act: create_budget(tx, new, asker, act),
            budget_codec.encode_created,
        )
        return pb.CreateBudgetResponse.FromString(response)

    @override
    async def GetBudget(self, request: pb.GetBudgetRequest, context: Context) -> pb.GetBudgetResponse:
        with Fields() as fields:
            account_id, budget_id = decode_budget_name(fields, request.name)
        async with self._database.reading() as tx:
            view = await get_budget(tx, account_id, budget_id, current_asker(), self._clock.now_us())
        return pb.GetBudgetResponse(
            budget=budget_codec.encode_budget(view.budget), standing=budget_codec.encode_standing(view.standing)
        )

    @override
    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: Context) -> pb.ListBudgetsResponse:
        with Fields() as fields:
            subject = LimitSubject(fields.account("account", request.account))
            wanted = _decode_filter(fields, request.place, subject)
            (after,), limit = decode_page(fields, request, ("",))
        async with self._database.reading() as tx:
            wanted = await _located(tx, wanted)
            budgets = await tx.budgets.page(wanted, after, limit + 1)
        encode = budget_codec.encode_budget
        page, token = encode_page(request, budgets, limit, encode, lambda budget: (budget.budget_id,))
        return pb.ListBudgetsResponse(budgets=page, next_page_token=token)

    @override
    async def UpdateBudget(self, request: pb.UpdateBudgetRequest, context: Context) -> pb.UpdateBudgetResponse:
        ((account_id, budget_id), update), asker = budget_codec.decode_update(request), current_asker()
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, _, act: update_budget(tx, account_id, budget_id, update, asker=asker, act=act),
            budget_codec.encode_updated,
        )
        return pb.UpdateBudgetResponse.FromString(response)

    @override
    async def DeleteBudget(self, request: pb.DeleteBudgetRequest, context: Context) -> pb.DeleteBudgetResponse:
        with Fields() as fields:
            account_id, budget_id = decode_budget_name(fields, request.name)
        asker = current_asker()
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, _, act: delete_budget(tx, account_id, budget_id, asker, act),
            lambda budget: pb.DeleteBudgetResponse(budget=budget_codec.encode_budget(budget)),
        )
        return pb.DeleteBudgetResponse.FromString(response)

    async def _of_subject(
        self,
        incoming: Incoming,
        subject: LimitSubject,
        change: Callable[[Transaction, Act], Awaitable[Result]],
        encode: Callable[[Result], Message],
    ) -> bytes:
        """Changes a rule of an account, which is locked then, or of a model."""
        if subject.model_id:
            return await self._calls.of_globals(incoming, change, encode)
        return await self._calls.of_account(incoming, subject.account_id, lambda tx, _, act: change(tx, act), encode)


def _decode_subject(fields: Fields, request: pb.ListRateRulesRequest) -> LimitSubject:
    """The account or the model whose rules are listed."""
    if not request.account:
        return LimitSubject(model_id=fields.model("model", request.model))
    if request.model:
        fields.refuse("model", "must be empty where an account is named")
    return LimitSubject(fields.account("account", request.account))


def _decode_filter(fields: Fields, place: str, subject: LimitSubject) -> LimitFilter:
    wanted = decode_place(fields, place, subject) if place else None
    sight = current_caller().rights.sight(Permission.LIMITS_READ)
    return LimitFilter(subject, wanted, sight.teams_of(subject.account_id) if subject.account_id else None)


async def _located(tx: Transaction, wanted: LimitFilter) -> LimitFilter:
    """The filter with the unique id of its place. Raises ResourceNotFoundError: no such account or model."""
    if wanted.subject.model_id:
        await tx.models.get(wanted.subject.model_id)
    else:
        await tx.accounts.get(wanted.subject.account_id)
    return wanted if wanted.place is None else replace(wanted, place=await living_place(tx, wanted.place))
