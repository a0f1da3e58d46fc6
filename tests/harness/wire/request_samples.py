"""A request for each RPC of both services, with everything in it that is required."""

import time

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import (
    alert_pb2,
    api_key_config_pb2,
    api_key_pb2,
    budget_pb2,
    inference_service_pb2,
    limit_config_pb2,
    model_pb2,
    pot_pb2,
)
from tallygate.control.v1 import alert_service_pb2 as alerts
from tallygate.control.v1 import audit_service_pb2 as audit
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import fleet_service_pb2 as fleet
from tallygate.control.v1 import key_service_pb2 as keys
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import limit_service_pb2 as limits
from tallygate.control.v1 import operations_service_pb2 as operations
from tallygate.control.v1 import recovery_service_pb2 as recovery
from tallygate.control.v1 import team_service_pb2 as teams
from tallygate.control.v1 import token_service_pb2 as tokens
from tallygate.metering.v1 import metering_service_pb2 as metering
from tallygate.metering.v1 import recovery_service_pb2 as metering_recovery
from tallygate.metering.v1 import report_pb2, token_usage_pb2
from tallygate.metering.v1 import usage_service_pb2 as usage

ACCOUNT = "accounts/acme"
MODEL = "models/llama"
SERVICE = f"{ACCOUNT}/services/chat"
TEAM = f"{ACCOUNT}/teams/search"
WEBHOOK = f"{ACCOUNT}/webhooks/pager"
SOME_KINDS = alert_pb2.AlertKindList(kinds=[alert_pb2.ALERT_KIND_ACCOUNT_OVERDUE])
PERSON = "person:https://issuer.example#alice"
ROBOT = f"{ACCOUNT}/serviceAccounts/robot"
TOKEN = f"{ROBOT}/accessTokens/{'a' * 24}"
NEW_SERVICE = f"{ACCOUNT}/services/new"
RULE = f"{ACCOUNT}/rateRules/steady"
BUDGET = f"{ACCOUNT}/budgets/daily"
RAISE_END_S = int(time.time()) + 86_400
RESERVATION = f"{SERVICE}/reservations/1"
KEY = f"{ACCOUNT}/keys/first"
EVERYTHING = api_key_pb2.KeyScope(all_services=True, all_models=True)
ROUTES = api_key_pb2.KeyRoutes(routes=[api_key_config_pb2.ModelRoute(model=MODEL, service=SERVICE)])
NETWORKS = api_key_pb2.KeyNetworks(networks=["192.0.2.0/24"])
TERMS = lifecycle.ReservationTerms(input_tokens_per_minute=1, output_tokens_per_minute=1, term_day_count=1)

CONTROL_REQUESTS: tuple[Message, ...] = (
    accounts.CreateAccountRequest(name="accounts/new", currency_code="EUR", display_name="New"),
    accounts.GetAccountRequest(name=ACCOUNT),
    accounts.ForecastAccountRequest(name=ACCOUNT),
    accounts.ListAccountsRequest(page_size=1),
    accounts.UpdateAccountRequest(name=ACCOUNT, display_name="Acme", credit_limit_nanos=1),
    accounts.TopUpAccountRequest(name=ACCOUNT, amount_nanos=1, reason="Paid", idempotency_key="top-up"),
    accounts.AdjustAccountRequest(name=ACCOUNT, amount_nanos=1, reason="Refund"),
    accounts.CloseAccountRequest(name="accounts/new"),
    accounts.ReopenAccountRequest(name="accounts/new"),
    accounts.ListLedgerEntriesRequest(account=ACCOUNT, inference_service=SERVICE),
    accounts.GetStatementRequest(account=ACCOUNT, time_zone="Europe/Berlin"),
    catalogue.CreateModelRequest(
        name="models/new",
        aliases=["new"],
        trial_offer=model_pb2.TrialOffer(quota_tokens=100),
        reservation_price=model_pb2.ReservationPrice(input_nanos_per_thousand_tpm_day=1),
        smallest_request_tokens=1,
    ),
    catalogue.GetModelRequest(name=MODEL),
    catalogue.ListModelsRequest(alias="new", page_size=1),
    catalogue.UpdateModelRequest(
        name=MODEL,
        aliases=catalogue.AliasList(aliases=["llama-3"]),
        trial_offer=model_pb2.TrialOffer(quota_tokens=1_000),
        reservation_price=model_pb2.ReservationPrice(output_nanos_per_thousand_tpm_day=1),
    ),
    catalogue.PublishPriceRequest(
        model=MODEL,
        input_nanos_per_million_tokens=1,
        cached_input_nanos_per_million_tokens=1,
        output_nanos_per_million_tokens=1,
        effective_time=Timestamp(seconds=4_000_000_000),
    ),
    catalogue.RetireModelRequest(name="models/new"),
    catalogue.RestoreModelRequest(name="models/new"),
    catalogue.WithdrawPriceRequest(name=f"{MODEL}/prices/2"),
    catalogue.ListPricesRequest(model=MODEL, page_size=1),
    alerts.ListAlertsRequest(account=ACCOUNT, kinds=[alert_pb2.ALERT_KIND_ACCOUNT_OVERDUE]),
    alerts.GetAlertSettingsRequest(account=ACCOUNT),
    alerts.UpdateAlertSettingsRequest(
        account=ACCOUNT,
        trial_threshold_percents=alerts.TrialPercentList(percents=[50]),
        left_threshold_nanos=alerts.NanosList(nanos=[1]),
    ),
    alerts.CreateWebhookRequest(name=WEBHOOK, url="https://hooks.example", kinds=SOME_KINDS),
    alerts.ListWebhooksRequest(account=ACCOUNT, page_size=1),
    alerts.UpdateWebhookRequest(name=WEBHOOK, url="https://hooks.example", kinds=SOME_KINDS, disabled=True),
    alerts.RotateWebhookSecretRequest(name=WEBHOOK, overlap=Duration(seconds=60)),
    alerts.TestWebhookRequest(name=WEBHOOK),
    alerts.ListDeliveriesRequest(webhook=WEBHOOK, page_size=1),
    alerts.ReplayAlertsRequest(webhook=WEBHOOK, first_sequence_number=1, start_time=Timestamp(seconds=1)),
    alerts.DeleteWebhookRequest(name=WEBHOOK),
    teams.CreateTeamRequest(name=TEAM, display_name="Search"),
    teams.GetTeamRequest(name=TEAM),
    teams.ListTeamsRequest(account=ACCOUNT, show_deleted=True),
    teams.UpdateTeamRequest(name=TEAM, display_name="Search"),
    lifecycle.CreateInferenceServiceRequest(
        name=NEW_SERVICE,
        model=MODEL,
        team="search",
        labels={"stage": "test"},
        credential_policy=inference_service_pb2.CREDENTIAL_POLICY_REQUIRED,
        shared=True,
        exempt_from_model_rules=True,
        billing=lifecycle.InitialBilling(enable_postpaid=True, reservation=TERMS),
    ),
    lifecycle.GetInferenceServiceRequest(name=SERVICE),
    lifecycle.ListInferenceServicesRequest(account=ACCOUNT, model=MODEL, show_deleted=True),
    lifecycle.UpdateInferenceServiceRequest(
        name=SERVICE,
        labels=lifecycle.LabelMap(labels={"stage": "test"}),
        credential_policy=inference_service_pb2.CREDENTIAL_POLICY_OPEN,
        shared=True,
        exempt_from_model_rules=True,
    ),
    lifecycle.ClaimFreeTrialRequest(name=SERVICE),
    lifecycle.EnablePostpaidRequest(name=SERVICE),
    lifecycle.DisablePostpaidRequest(name=SERVICE),
    lifecycle.PurchaseReservationRequest(inference_service=SERVICE, terms=TERMS),
    lifecycle.QuoteReservationRequest(inference_service=SERVICE, terms=TERMS),
    lifecycle.CancelReservationRequest(name=RESERVATION),
    lifecycle.ListReservationsRequest(inference_service=SERVICE),
    lifecycle.SuspendInferenceServiceRequest(name=SERVICE),
    lifecycle.ResumeInferenceServiceRequest(name=SERVICE),
    lifecycle.ListServiceEventsRequest(inference_service=SERVICE),
    lifecycle.ListModelOffersRequest(account=ACCOUNT),
    limits.CreateRateRuleRequest(
        name=RULE,
        place=SERVICE,
        metric=limit_config_pb2.RATE_METRIC_TOTAL_TOKENS,
        limit_units=60_000,
        period=Duration(seconds=60),
        burst_units=1_000,
        dry_run=True,
    ),
    limits.GetRateRuleRequest(name=RULE),
    limits.ListRateRulesRequest(account=ACCOUNT, place=SERVICE, page_size=1),
    limits.UpdateRateRuleRequest(name=RULE, limit_units=50_000, period=Duration(seconds=60), burst_units=0),
    limits.DeleteRateRuleRequest(name=RULE),
    limits.CreateBudgetRequest(
        name=BUDGET,
        place=TEAM,
        unit=budget_pb2.BUDGET_UNIT_TOKENS,
        amount_units=1_000_000,
        period=budget_pb2.CALENDAR_PERIOD_DAY,
        time_zone="Europe/Berlin",
        member=limit_config_pb2.LIMIT_MEMBER_SHARED,
        soft=True,
        temporary_raise=budget_pb2.BudgetRaise(amount_units=2_000_000, end_time=Timestamp(seconds=RAISE_END_S)),
        initial_spent_units=1,
        threshold_percents=[80, 100],
    ),
    limits.GetBudgetRequest(name=BUDGET),
    limits.ListBudgetsRequest(account=ACCOUNT, place=TEAM, page_size=1),
    limits.UpdateBudgetRequest(
        name=BUDGET, amount_units=2_000, threshold_percents=limits.PercentList(percents=[50]), soft=False
    ),
    limits.DeleteBudgetRequest(name=BUDGET),
    keys.CreateKeyRequest(
        name=KEY,
        display_name="First",
        team="search",
        owner=PERSON,
        scope=EVERYTHING,
        routes=ROUTES,
        networks=NETWORKS,
        temporary_for=Duration(seconds=60),
        secret="k9" * 16,
    ),
    keys.ImportKeysRequest(
        account=ACCOUNT,
        keys=[
            keys.ImportedKey(
                name=KEY,
                secret_sha256=bytes(32),
                scope=EVERYTHING,
                routes=ROUTES,
                networks=NETWORKS,
                owner=PERSON,
                disabled=True,
            )
        ],
    ),
    keys.GetKeyRequest(name=KEY),
    keys.ListKeysRequest(
        account=ACCOUNT, team="search", show_deleted=True, page_size=1, inference_service=f"{ACCOUNT}/services/finder"
    ),
    keys.UpdateKeyRequest(name=KEY, display_name="1", scope=EVERYTHING, routes=ROUTES, networks=NETWORKS),
    keys.RotateKeyRequest(name=KEY, overlap=Duration(seconds=1)),
    keys.DisableKeyRequest(name=KEY),
    keys.EnableKeyRequest(name=KEY),
    keys.DeleteKeyRequest(name=KEY),
    lifecycle.DeleteInferenceServiceRequest(name=SERVICE),
    teams.DeleteTeamRequest(name=TEAM),
    access.WhoAmIRequest(),
    access.CreateBindingRequest(scope="platform", member=PERSON, role=role_pb2.ROLE_NODE, node_names=["node-*"]),
    access.DeleteBindingRequest(name=f"{ACCOUNT}/bindings/none"),
    access.ListBindingsRequest(scope=ACCOUNT, member=PERSON, page_size=1),
    access.ListPrincipalsRequest(show_disabled_only=True, page_size=1),
    access.DisablePrincipalRequest(member=PERSON),
    access.EnablePrincipalRequest(member=PERSON),
    tokens.GetSignInOptionsRequest(),
    tokens.ExchangeTokenRequest(id_token="header.payload.signature"),
    tokens.CreateServiceAccountRequest(name=ROBOT, display_name="Robot"),
    tokens.ListServiceAccountsRequest(scope=ACCOUNT, page_size=1),
    tokens.CreateAccessTokenRequest(
        service_account=ROBOT,
        display_name="first",
        valid_for=Duration(seconds=60),
        narrowed_role=role_pb2.ROLE_VIEWER,
        narrowed_scope=ACCOUNT,
    ),
    tokens.ListAccessTokensRequest(service_account=ROBOT, page_size=1),
    tokens.RotateAccessTokenRequest(name=TOKEN, overlap=Duration(seconds=1)),
    tokens.DisableAccessTokenRequest(name=TOKEN),
    tokens.EnableAccessTokenRequest(name=TOKEN),
    tokens.DeleteAccessTokenRequest(name=TOKEN),
    tokens.DeleteServiceAccountRequest(name=ROBOT),
    audit.ListAuditEntriesRequest(account=ACCOUNT, resource=SERVICE, end_time=Timestamp(seconds=4_000_000_000)),
    operations.ListNodesRequest(page_size=1),
    operations.GetDiagnosticsRequest(),
    operations.ListPotsRequest(account=ACCOUNT, inference_service=SERVICE),
    operations.ListLeasesRequest(account=ACCOUNT, inference_service=SERVICE, node="node-a", show_closed=True),
    fleet.WatchConfigRequest(
        hello=fleet.NodeHello(
            node="node-a",
            epoch=1,
            metering_database_id="metering-database",
            history=[fleet.NodeMark(node="node-a", epoch=1, commit_no=1, exchange_number=1)],
        )
    ),
    fleet.ExchangeLeasesRequest(
        node="node-b",
        epoch=1,
        exchange_number=1,
        acknowledged_version=1,
        statements=[
            fleet.LeaseStatement(
                lease_id="lease",
                inference_service=SERVICE,
                inference_service_uid="uid",
                pot_kind=pot_pb2.POT_KIND_MONEY,
                wanted_units=1,
            ),
            fleet.LeaseStatement(
                lease_id="lease-of-budget",
                pot_kind=pot_pb2.POT_KIND_BUDGET_TOKENS,
                limit_pot=pot_pb2.LimitPot(
                    account=ACCOUNT, limit_uid="uid", member_uid="key", period_start_time=Timestamp(seconds=3_600)
                ),
                wanted_units=1,
            ),
        ],
        refused_calls=[
            fleet.RefusedCalls(
                minute=Timestamp(seconds=60),
                principal="person:anna",
                method="tallygate.metering.v1.MeteringService/Meter",
                reason="PERMISSION_DENIED",
                resource=SERVICE,
                call_count=1,
            )
        ],
    ),
    recovery.BookLeasesRequest(
        leases=[
            recovery.LeaseTotal(
                lease_id="lease",
                node="node-c",
                epoch=1,
                inference_service=SERVICE,
                inference_service_uid="uid",
                pot_kind=pot_pb2.POT_KIND_MONEY,
                consumed_units=1,
            ),
            recovery.LeaseTotal(
                lease_id="lease-of-budget",
                node="node-c",
                epoch=1,
                pot_kind=pot_pb2.POT_KIND_BUDGET_MONEY,
                limit_pot=pot_pb2.LimitPot(account=ACCOUNT, limit_uid="uid"),
                consumed_units=1,
            ),
        ]
    ),
    recovery.FinishRecoveryRequest(nodes=[recovery.FencedNode(node="node-c", epoch=1)]),
)

DATABASE_REQUESTS: tuple[Message, ...] = (
    usage.QueryUsageRequest(
        start_time=Timestamp(seconds=60),
        end_time=Timestamp(seconds=120),
        services=[SERVICE],
        credential="key",
        labels={"stage": "test"},
        group_by=["service"],
        teams=["search"],
    ),
    usage.GetRequestUsageRequest(service=SERVICE, request_id="request"),
    usage.ListRequestUsageRequest(service=SERVICE, page_size=1),
    usage.ExplainRequestRequest(account=ACCOUNT, request_id="request"),
    metering_recovery.FenceNodesRequest(known=[recovery.FencedNode(node="node-c", epoch=1)], closes_leases=True),
    metering_recovery.ListLeaseTotalsRequest(page_size=1),
)
"""Requests of the metering service that its database answers."""

REPORT = report_pb2.TokenReport(
    request_id="request",
    service=SERVICE,
    phase=report_pb2.REPORT_PHASE_FINISH,
    usage=token_usage_pb2.TokenUsage(input_tokens=1),
)
REPORT_REQUESTS: tuple[Message, ...] = (
    metering.MeterRequest(first_sequence=1, reports=[REPORT]),
    metering.ReportRequest(report=REPORT),
    metering.AuthorizeRequest(
        report=report_pb2.TokenReport(request_id="new", service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE)
    ),
)
"""Requests of MeteringService, whose answer is a decision."""
