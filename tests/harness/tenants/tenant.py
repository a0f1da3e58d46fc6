"""A tenant that lives: whatever can be written down of it is written down, with a mark in every text."""

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import alert_service_pb2 as alerts
from tallygate.control.v1 import (
    api_key_config_pb2,
    api_key_pb2,
    budget_pb2,
    inference_service_pb2,
    limit_config_pb2,
    model_pb2,
)
from tallygate.control.v1 import audit_service_pb2 as audit
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import key_service_pb2 as keys
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import limit_service_pb2 as limits
from tallygate.control.v1 import team_service_pb2 as teams
from tallygate.control.v1 import token_service_pb2 as tokens
from tallygate.metering.v1 import decision_pb2, report_pb2, token_usage_pb2
from tallygate.metering.v1 import metering_service_pb2 as metering
from tests.harness.patience import turns
from tests.harness.tenants.marks import made_up, new_mark
from tests.harness.tenants.town import METHODS, Answer, Town, answer_of

MODEL: Final = "models/llama"
NANOS: Final = 1_000_000_000
BY_RULE: Final = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS}
"""Codes of steps that a tenant may try, and that some rule of money or of its life refuses."""
SHARED_TEAM: Final = "red"
"""Id of a team that every tenant has."""
AUTHORIZE, FINISH = report_pb2.REPORT_PHASE_AUTHORIZE, report_pb2.REPORT_PHASE_FINISH


def open_shop(town: Town) -> None:
    """The model that everybody sees."""
    trial = model_pb2.TrialOffer(quota_tokens=1_000_000)
    daily = model_pb2.ReservationPrice(output_nanos_per_thousand_tpm_day=1)
    town.do(catalogue.CreateModelRequest(name=MODEL, trial_offer=trial, reservation_price=daily))
    town.do(
        catalogue.PublishPriceRequest(
            model=MODEL, input_nanos_per_million_tokens=NANOS, output_nanos_per_million_tokens=NANOS
        )
    )


class Tenant:
    """An account with an owner, a meter, a team, a service; and all that it has said, and that was made up for it."""

    def __init__(self, town: Town, marks: str) -> None:
        self.town = town
        self._marks = marks
        self.said: list[Message] = []
        """Requests that it has made."""
        self.made_up: set[bytes] = set()
        self.resume_tokens: list[bytes] = []
        self.words: dict[str, list[str]] = defaultdict(list)
        """Words of its own by what they are: names by the type of the resource, others by their field."""
        self.account_id = self.mark()
        self.name = f"accounts/{self.account_id}"
        self.words["tallygate/Account"].append(self.name)
        self._operate(accounts.CreateAccountRequest(name=self.name, display_name=self.mark()))
        self.pay()
        self.owner = town.token_of(self._service_account(self.name), Role.OWNER, Scope(self.account_id))
        self.meter = town.token_of(self._service_account(self.name), Role.METER, Scope(self.account_id))
        self.create_team(SHARED_TEAM)
        self.create_team()
        self.create_service(0)

    def mark(self) -> str:
        """A new one of its marks."""
        return new_mark(self._marks)

    def say(self, request: Message, token: str = "") -> Answer:
        """A call of its owner, or with another token, that succeeds unless a rule of its life refuses it."""
        method = METHODS[request.DESCRIPTOR.full_name]
        self.said.append(request)
        answer = self.town.ask(method, request.SerializeToString(), token or self.owner)
        assert answer.is_ok or answer.code in BY_RULE, (request, answer)
        if answer.is_ok:
            self.made_up.update(piece for piece in made_up(answer_of(method, answer.body)))
        return answer

    def pick(self, kind: str, number: int) -> str:
        """One of its words of this kind."""
        return self.words[kind][number % len(self.words[kind])]

    @cached_property
    def steps(self) -> list[Callable[[int], object]]:
        """All that it may do next. The number says with what of its own."""
        return [
            lambda _: self.pay(),
            lambda _: self.create_team(),
            self.create_service,
            self.update_service,
            self.use_service,
            self.deny_service,
            self.reserve,
            self.create_robot,
            self.create_key,
            self.bind,
            self.update_account,
            self.be_refused,
            self.turn_pages,
            self.delete_something,
            self.hook,
            self.set_limits,
        ]

    def hook(self, number: int) -> None:
        """A webhook, whose address leads to this machine, where nothing is sent, and what is on its way to it."""
        name = f"{self.name}/webhooks/{self.mark()}"
        self.say(alerts.CreateWebhookRequest(name=name, url=f"https://localhost/{self.mark()}"))
        self.words["tallygate/Webhook"].append(name)
        self.say(alerts.TestWebhookRequest(name=name))
        left = alerts.NanosList(nanos=[number * NANOS, 10**18])
        self.say(alerts.UpdateAlertSettingsRequest(account=self.name, left_threshold_nanos=left))

    def _operate(self, request: Message) -> None:
        """By the operator."""
        self.say(request, self.town.operator)

    def _service_account(self, scope: str) -> str:
        name = f"{scope}/serviceAccounts/{self.mark()}"
        self.words["tallygate/ServiceAccount"].append(name)
        self.words["member"].append(f"serviceAccount:{name}")
        return name

    def pay(self) -> None:
        """Money comes in, and a correction."""
        more = {"name": self.name, "reason": self.mark(), "idempotency_key": self.mark()}
        self._operate(accounts.TopUpAccountRequest(amount_nanos=NANOS * 1_000, **more))
        self._operate(accounts.AdjustAccountRequest(amount_nanos=7, **{**more, "idempotency_key": self.mark()}))

    def set_limits(self, number: int) -> None:
        """A rate rule and a budget on a service, a team or the account, named by marks; the budget is lowered."""
        place = (self.name, self.pick("tallygate/Team", number), self.pick("tallygate/InferenceService", number))
        rule, budget = f"{self.name}/rateRules/{self.mark()}", f"{self.name}/budgets/{self.mark()}"
        self.say(
            limits.CreateRateRuleRequest(
                name=rule,
                place=place[number % 3],
                metric=limit_config_pb2.RATE_METRIC_REQUESTS,
                limit_units=NANOS,
                idempotency_key=self.mark(),
            )
        )
        self.words["tallygate/RateRule"].append(rule)
        self.say(
            limits.CreateBudgetRequest(
                name=budget,
                place=place[number % 3],
                unit=budget_pb2.BUDGET_UNIT_TOKENS,
                amount_units=NANOS,
                period=budget_pb2.CALENDAR_PERIOD_IN_ALL,
                idempotency_key=self.mark(),
            )
        )
        self.words["tallygate/Budget"].append(budget)
        self.say(limits.UpdateBudgetRequest(name=budget, amount_units=NANOS - 1, idempotency_key=self.mark()))

    def update_account(self, _: int = 0) -> None:
        self.say(accounts.UpdateAccountRequest(name=self.name, display_name=self.mark(), idempotency_key=self.mark()))

    def create_team(self, team_id: str = "") -> None:
        team_id = team_id or self.mark()
        name = f"{self.name}/teams/{team_id}"
        self.say(teams.CreateTeamRequest(name=name, display_name=self.mark(), idempotency_key=self.mark()))
        self.words["team"].append(team_id)
        self.words["tallygate/Team"].append(name)

    def create_service(self, number: int) -> None:
        """With a trial where the number is even."""
        name = f"{self.name}/services/{self.mark()}"
        self.say(
            lifecycle.CreateInferenceServiceRequest(
                name=name,
                model=MODEL,
                display_name=self.mark(),
                team=self.pick("team", number),
                labels={self.mark(): self.mark()},
                idempotency_key=self.mark(),
                credential_policy=inference_service_pb2.CREDENTIAL_POLICY_OPEN,
                billing=lifecycle.InitialBilling(enable_postpaid=True),
            )
        )
        self.words["tallygate/InferenceService"].append(name)

    def update_service(self, number: int) -> None:
        self.say(
            lifecycle.UpdateInferenceServiceRequest(
                name=self.pick("tallygate/InferenceService", number),
                display_name=self.mark(),
                team=self.pick("team", number),
                labels=lifecycle.LabelMap(labels={self.mark(): self.mark()}),
                idempotency_key=self.mark(),
            )
        )

    def reserve(self, number: int) -> None:
        terms = lifecycle.ReservationTerms(output_tokens_per_minute=1_000, term_day_count=1)
        service = self.pick("tallygate/InferenceService", number)
        request = lifecycle.PurchaseReservationRequest(
            inference_service=service, terms=terms, idempotency_key=self.mark()
        )
        answer = self.say(request)
        if answer.is_ok:
            bought = answer_of(METHODS[request.DESCRIPTOR.full_name], answer.body)
            self.words["tallygate/Reservation"].append(bought.reservation.name)

    def create_robot(self, number: int) -> None:
        """A service account in the account or in a team, with a token."""
        name = self._service_account(self.name if number % 2 else self.pick("tallygate/Team", number))
        self.say(tokens.CreateServiceAccountRequest(name=name, display_name=self.mark(), idempotency_key=self.mark()))
        request = tokens.CreateAccessTokenRequest(
            service_account=name, display_name=self.mark(), idempotency_key=self.mark()
        )
        made = answer_of(METHODS[request.DESCRIPTOR.full_name], self.say(request).body)
        self.words["tallygate/AccessToken"].append(made.access_token.name)

    def create_key(self, number: int) -> None:
        """A key of a team with a route and a network, and its secret changed where the number is even."""
        name = f"{self.name}/keys/{self.mark()}"
        route = api_key_config_pb2.ModelRoute(model=MODEL, service=f"{self.name}/services/default-llama")
        request = keys.CreateKeyRequest(
            name=name,
            display_name=self.mark(),
            team=self.pick("team", number) if number % 3 else "",
            scope=api_key_pb2.KeyScope(all_services=True, all_models=True),
            routes=api_key_pb2.KeyRoutes(routes=[] if number % 3 else [route]),
            idempotency_key=self.mark(),
        )
        self.say(request)
        self.words["tallygate/ApiKey"].append(name)
        if number % 2 == 0:
            self.say(keys.RotateKeyRequest(name=name, idempotency_key=self.mark()))

    def bind(self, number: int) -> None:
        """A person becomes something in the account or in a team."""
        person = f"person:https://{self.mark()}.example#{self.mark()}"
        scope, role = [(self.name, "VIEWER"), (self.pick("tallygate/Team", number), "TEAM_MEMBER")][number % 2]
        request = access.CreateBindingRequest(
            scope=scope, member=person, role=role_pb2.Role.Value(f"ROLE_{role}"), idempotency_key=self.mark()
        )
        made = answer_of(METHODS[request.DESCRIPTOR.full_name], self.say(request).body)
        self.words["member"].append(person)
        self.words["tallygate/Binding"].append(made.binding.name)

    def report(self, service: str, request_id: str, **more: Any) -> report_pb2.TokenReport:
        return report_pb2.TokenReport(request_id=request_id, service=service, **more)

    def use_service(self, number: int) -> None:
        """A request is authorised, as soon as the node allows it, and ends where the number is even."""
        service, request_id = self.pick("tallygate/InferenceService", number), self.mark()
        label = {self.mark(): self.mark()}
        more = {"labels": label, "credential": self.mark(), "usage": token_usage_pb2.TokenUsage(input_tokens=3)}
        report = self.report(service, request_id, phase=AUTHORIZE, **more)
        decision = decision_pb2.Decision(retryable=True)
        for _ in turns():
            request = metering.AuthorizeRequest(report=report)
            answer = self.say(request, self.meter)
            decision = answer_of(METHODS[request.DESCRIPTOR.full_name], answer.body).decision
            if decision.verdict == decision_pb2.VERDICT_ALLOW or not decision.retryable:
                break
        self.resume_tokens.append(decision.grant.resume)
        if number % 2 == 0:
            report.phase = FINISH
            self.say(metering.ReportRequest(report=report), self.meter)
        self.words["request_id"].append(request_id)
        self.words["credential"].append(report.credential)
        self.words["labels"] += [f"{key}={value}" for key, value in label.items()]

    def finish_all(self) -> None:
        """Nothing of it goes on."""
        for request in list(self.said):
            if isinstance(request, metering.AuthorizeRequest):
                report = report_pb2.TokenReport()
                report.CopyFrom(request.report)
                report.phase = FINISH
                self.say(metering.ReportRequest(report=report), self.meter)

    def deny_service(self, number: int) -> None:
        """A request that ended is authorised once more, which is denied."""
        self.use_service(number - number % 2)
        (again,) = [one for one in self.said[-1:] if isinstance(one, metering.ReportRequest)]
        report = report_pb2.TokenReport()
        report.CopyFrom(again.report)
        report.phase = AUTHORIZE
        self.say(metering.AuthorizeRequest(report=report), self.meter)

    def be_refused(self, number: int) -> None:
        """Its meter tries what it may not, and its owner what is the operator's: both are written down."""
        name = self.pick("tallygate/InferenceService", number)
        for request in (
            lifecycle.DeleteInferenceServiceRequest(name=name, idempotency_key=self.mark()),
            accounts.TopUpAccountRequest(name=self.name, amount_nanos=1, reason=self.mark()),
        ):
            method = METHODS[request.DESCRIPTOR.full_name]
            answer = self.town.ask(method, request.SerializeToString(), self.meter)
            assert answer.code is grpc.StatusCode.PERMISSION_DENIED, answer

    def turn_pages(self, number: int) -> None:
        """It looks at its own, a page of one at a time; and asks for a next page, if there is one."""
        service = self.pick("tallygate/InferenceService", number)
        for request in (
            accounts.ListLedgerEntriesRequest(account=self.name),
            lifecycle.ListInferenceServicesRequest(account=self.name),
            lifecycle.ListServiceEventsRequest(inference_service=service),
            limits.ListRateRulesRequest(account=self.name),
            limits.ListBudgetsRequest(account=self.name),
            teams.ListTeamsRequest(account=self.name),
            tokens.ListServiceAccountsRequest(scope=self.name),
            keys.ListKeysRequest(account=self.name),
            access.ListBindingsRequest(scope=self.name),
            audit.ListAuditEntriesRequest(account=self.name),
        ):
            request.page_size = 1
            method = METHODS[request.DESCRIPTOR.full_name]
            request.page_token = answer_of(method, self.say(request).body).next_page_token
            if request.page_token:
                self.words[f"page of {method.name}"].append(request.page_token)
                self.say(request)

    def delete_something(self, number: int) -> None:
        """The last service, robot's token or binding goes; what is gone can be asked for as well."""
        kinds: list[tuple[str, Any]] = [
            ("tallygate/InferenceService", lifecycle.DeleteInferenceServiceRequest),
            ("tallygate/AccessToken", tokens.DeleteAccessTokenRequest),
            ("tallygate/ApiKey", keys.DeleteKeyRequest),
            ("tallygate/Binding", access.DeleteBindingRequest),
        ]
        kind, request = kinds[number % len(kinds)]
        spare = 1 if kind == "tallygate/InferenceService" else 0
        if len(self.words[kind]) > spare:
            self.say(request(name=self.words[kind].pop(), idempotency_key=self.mark()))
