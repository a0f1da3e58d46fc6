"""What the contract says of its fields and files in annotations is complete, and agrees with itself."""

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tallygate.control.v1 import (
    account_pb2,
    account_service_pb2,
    alert_pb2,
    alert_service_pb2,
    api_key_pb2,
    budget_pb2,
    catalog_service_pb2,
    inference_service_pb2,
    key_service_pb2,
    lease_pb2,
    ledger_pb2,
    lifecycle_service_pb2,
    limit_service_pb2,
    model_pb2,
    node_pb2,
    pot_pb2,
    rate_rule_pb2,
    reservation_pb2,
    service_event_pb2,
    webhook_pb2,
)
from tallygate.metering.v1 import request_usage_pb2
from tests.harness.wire.contract_files import (
    behaviour,
    contract_files,
    messages,
    methods,
    patterns_of,
    reachable,
    reference,
    resource_type,
)

PROTOS = Path(__file__).parents[2] / "protos"
FIELD = re.compile(
    r"((?:^ +//.*\n)+) +(?:optional |repeated )?(?:map<.*>|[\w.]+) \w+ = \d+( \[.*\]| \[\n[^\]]*\])?;", re.MULTILINE
)
EXTENSION = re.compile(r"^extend .*?^}", re.MULTILINE | re.DOTALL)

SETTABLE = (
    (account_pb2.Account, account_service_pb2.CreateAccountRequest, account_service_pb2.UpdateAccountRequest),
    (model_pb2.Model, catalog_service_pb2.CreateModelRequest, catalog_service_pb2.UpdateModelRequest),
    (
        inference_service_pb2.InferenceService,
        lifecycle_service_pb2.CreateInferenceServiceRequest,
        lifecycle_service_pb2.UpdateInferenceServiceRequest,
    ),
    (webhook_pb2.Webhook, alert_service_pb2.CreateWebhookRequest, alert_service_pb2.UpdateWebhookRequest),
    (api_key_pb2.ApiKey, key_service_pb2.CreateKeyRequest, key_service_pb2.UpdateKeyRequest),
    (model_pb2.Price, catalog_service_pb2.PublishPriceRequest, None),
    (reservation_pb2.Reservation, lifecycle_service_pb2.ReservationTerms, None),
    (rate_rule_pb2.RateRule, limit_service_pb2.CreateRateRuleRequest, limit_service_pb2.UpdateRateRuleRequest),
    (budget_pb2.Budget, limit_service_pb2.CreateBudgetRequest, limit_service_pb2.UpdateBudgetRequest),
)
"""Resources that people make, what makes them, and what changes them."""

WRITTEN_BY_SERVERS = (
    ledger_pb2.LedgerEntry,
    service_event_pb2.ServiceEvent,
    alert_pb2.Alert,
    alert_pb2.SpentThreshold,
    alert_pb2.LeftThreshold,
    alert_pb2.StatusChange,
    alert_pb2.AccountStanding,
    alert_pb2.AlertSettings,
    webhook_pb2.Delivery,
    inference_service_pb2.FreeTrial,
    node_pb2.Node,
    pot_pb2.Pot,
    lease_pb2.Lease,
    request_usage_pb2.RequestUsage,
)
NAMED_BY_SERVERS = {model_pb2.Price, reservation_pb2.Reservation}


def requests() -> list[Descriptor]:
    """What a client can send: requests, and what they are made of."""
    return reachable(method.input_type for method in methods())


def fields_that(message: Descriptor, *behaviours: str) -> set[str]:
    return {field.name for field in message.fields if behaviour(field) in behaviours}


def test_every_field_of_a_request_says_whether_it_is_required() -> None:
    """And none can be sent that only a server sets."""
    said = {field.full_name: behaviour(field) for message in requests() for field in message.fields}
    assert {name: how for name, how in said.items() if how not in {"REQUIRED", "OPTIONAL"}} == {}


def test_a_comment_says_required_where_the_annotation_does() -> None:
    """Documentation of generated code has the comments, and grpcurl the annotations: both say it, or neither."""
    texts = [EXTENSION.sub("", path.read_text()) for path in sorted(PROTOS.rglob("*.proto"))]
    fields = [match for text in texts for match in FIELD.finditer(text)]
    assert len(fields) == sum(len(message.fields) for message in messages())
    wrong = [
        match[0]
        for match in fields
        if bool(re.search(r"\bRequired\.", match[1])) != ("(google.api.field_behavior) = REQUIRED" in (match[2] or ""))
    ]
    assert wrong == []


@pytest.mark.parametrize(("resource", "creates", "updates"), SETTABLE)
def test_a_resource_says_what_can_be_changed(
    resource: type[Message], creates: type[Message], updates: type[Message] | None
) -> None:
    """OPTIONAL: by its Update; IMMUTABLE: given once, by what makes it; OUTPUT_ONLY: by nobody."""
    it: Any = resource.DESCRIPTOR
    assert {behaviour(field) for field in it.fields} <= {"IDENTIFIER", "IMMUTABLE", "OPTIONAL", "OUTPUT_ONLY"}
    assert fields_that(it, "IDENTIFIER") == {"name"}
    given = set(it.fields_by_name) & set(creates.DESCRIPTOR.fields_by_name)
    changed = set(it.fields_by_name) & set(updates.DESCRIPTOR.fields_by_name if updates else ())
    assert given - {"name"} == fields_that(it, "OPTIONAL", "IMMUTABLE")
    assert changed - {"name"} == fields_that(it, "OPTIONAL")
    assert ("name" in given) == (resource not in NAMED_BY_SERVERS)


@pytest.mark.parametrize("written", WRITTEN_BY_SERVERS)
def test_what_servers_write_is_output_only(written: type[Message]) -> None:
    """Every field of it, but for its name, which is its identifier."""
    it: Any = written.DESCRIPTOR
    assert fields_that(it, "OUTPUT_ONLY", "IDENTIFIER") == set(it.fields_by_name)
    assert fields_that(it, "IDENTIFIER") == ({"name"} if patterns_of(it) else set())


def test_names_say_what_they_are_names_of() -> None:
    """Each resource has a type and a pattern of its own, and each reference one of these types."""
    resources = {resource_type(message): patterns_of(message) for message in messages() if resource_type(message)}
    anywhere = ("", "accounts/{account}/", "accounts/{account}/teams/{team}/")
    assert resources == {
        "tallygate/AccessToken": [
            "accessTokens/{access_token}",
            *(f"{scope}serviceAccounts/{{service_account}}/accessTokens/{{access_token}}" for scope in anywhere),
        ],
        "tallygate/Account": ["accounts/{account}"],
        "tallygate/Alert": ["accounts/{account}/alerts/{alert}"],
        "tallygate/ApiKey": ["accounts/{account}/keys/{key}"],
        "tallygate/AuditEntry": ["auditEntries/{audit_entry}"],
        "tallygate/Binding": [f"{scope}bindings/{{binding}}" for scope in anywhere],
        "tallygate/Budget": ["accounts/{account}/budgets/{budget}"],
        "tallygate/Delivery": ["accounts/{account}/webhooks/{webhook}/deliveries/{delivery}"],
        "tallygate/InferenceService": ["accounts/{account}/services/{service}"],
        "tallygate/LedgerEntry": ["accounts/{account}/ledgerEntries/{ledger_entry}"],
        "tallygate/Model": ["models/{model}"],
        "tallygate/Price": ["models/{model}/prices/{price}"],
        "tallygate/RateRule": ["accounts/{account}/rateRules/{rate_rule}", "models/{model}/rateRules/{rate_rule}"],
        "tallygate/Reservation": ["accounts/{account}/services/{service}/reservations/{reservation}"],
        "tallygate/ServiceAccount": [f"{scope}serviceAccounts/{{service_account}}" for scope in anywhere],
        "tallygate/ServiceEvent": ["accounts/{account}/services/{service}/events/{event}"],
        "tallygate/Team": ["accounts/{account}/teams/{team}"],
        "tallygate/Webhook": ["accounts/{account}/webhooks/{webhook}"],
    }
    names = {
        field.full_name: reference(field)
        for message in messages()
        for field in message.fields
        if field.type == FieldDescriptor.TYPE_STRING
        and field.name in {"name", "account", "model", "inference_service", "service"}
        and behaviour(field) != "IDENTIFIER"
    }
    assert {name for name, kind in names.items() if kind not in resources} == {
        # What an end user calls a model: an id or an alias.
        "tallygate.metering.v1.TokenReport.model",
    }


def test_every_file_says_where_it_goes_in_java_and_go() -> None:
    """One Java package and one Go package for each package of the contract, and a Java class for each file."""
    for file in contract_files():
        options, version = file.GetOptions(), file.package.removeprefix("tallygate.")
        base = "".join(word.capitalize() for word in Path(file.name).stem.split("_"))
        assert options.java_package == f"com.{file.package}"
        assert options.java_outer_classname == f"{base}Proto"
        assert options.java_multiple_files
        assert options.go_package == f"{file.package.replace('.', '/')};{version.replace('.', '')}"
