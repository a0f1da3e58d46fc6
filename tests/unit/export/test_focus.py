"""Costs as FOCUS: the columns of each version, and what is in them."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.control.v1 import ledger_pb2, statement_pb2
from tallygate.export.focus import COLUMNS, Bill, FocusFile, FocusVersion
from tallygate.metering.v1 import usage_bucket_pb2

MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ServiceCategory", "ServiceName"),
}
OF_VERSION = {
    FocusVersion.V1_2: {"ProviderName", "PublisherName"},
    FocusVersion.V1_4: {"ServiceProviderName", "HostProviderName"},
}
NULLABLE = {"ChargeClass", "InvoiceId", "InvoiceDetailId", "ConsumedQuantity", "ConsumedUnit"}
SERVICE = "accounts/acme/services/chat"


def moment(text: str) -> Timestamp:
    time = Timestamp()
    time.FromJsonString(text)
    return time


BILL = Bill(
    "accounts/acme", "Acme", "USD", moment("2026-10-01T00:00:00Z"), moment("2026-11-01T00:00:00Z"), "Example AI"
)


def bucket(cost_nanos: int = 0, **tokens: int) -> usage_bucket_pb2.UsageBucket:
    """A day of the service."""
    payers = usage_bucket_pb2.PayerTokens(**{f"{payer}_tokens": count for payer, count in tokens.items()})
    return usage_bucket_pb2.UsageBucket(
        start_time=moment("2026-10-05T00:00:00Z"),
        end_time=moment("2026-10-06T00:00:00Z"),
        group={"service": SERVICE, "team": "red"},
        payers=payers,
        cost_nanos=cost_nanos,
        request_count=3,
    )


def lines(
    version: FocusVersion, buckets: list[usage_bucket_pb2.UsageBucket], bought: int = 0
) -> tuple[list[str], list[dict[str, str]]]:
    """Names and lines of the file."""
    file = io.BytesIO()
    focus = FocusFile(file, version, BILL, {SERVICE: "models/llama"})
    kind = ledger_pb2.LEDGER_ENTRY_KIND_RESERVATION
    if bought:
        line = statement_pb2.StatementLine(
            kind=kind, amount_nanos=-bought, entry_count=2, inference_service=SERVICE, team="red"
        )
        focus.write_purchases([line])
    focus.write_usage(buckets)
    focus.close()
    reader = csv.DictReader(io.StringIO(file.getvalue().decode()))
    return list(reader.fieldnames or ()), list(reader)


@pytest.mark.parametrize("version", list(FocusVersion))
def test_a_version_has_its_columns(version: FocusVersion) -> None:
    """All that it demands, none that another version has alone; those of ours come last."""
    names, _ = lines(version, [])
    assert set(names) >= MANDATORY | OF_VERSION[version]
    others = set().union(*(own for other, own in OF_VERSION.items() if other is not version))
    assert not set(names) & others
    ours = [name.startswith("x_") for name in names]
    assert ours == sorted(ours)
    assert list(COLUMNS[version]) == names


@pytest.mark.parametrize("version", list(FocusVersion))
def test_what_is_demanded_is_said(version: FocusVersion) -> None:
    """Nothing that must not be null is empty, in usage and in purchases."""
    _, found = lines(version, [bucket(5, billed=100)], bought=10**9)
    assert len(found) == 2
    for line in found:
        empty = {name for name, value in line.items() if not value}
        assert not empty & ((MANDATORY | OF_VERSION[version]) - NULLABLE)
        assert line["BillingPeriodStart"] == "2026-10-01T00:00:00Z"


def test_each_payer_has_its_line() -> None:
    """Pay-as-you-go alone costs something, and all tokens are there once."""
    _, found = lines(FocusVersion.V1_4, [bucket(812, reserved=300, trial=500, billed=200)])
    assert {line["x_Payer"]: (line["ConsumedQuantity"], line["BilledCost"]) for line in found} == {
        "reserved": ("300.0", "0.00"),
        "trial": ("500.0", "0.00"),
        "billed": ("200.0", "0.000000812"),
    }
    assert {line["ConsumedUnit"] for line in found} == {"Tokens"}


def test_costs_add_up() -> None:
    """Exactly, to the nano. What a purchase covers is effective later, so that it is in no effective cost."""
    _, found = lines(FocusVersion.V1_2, [bucket(1, billed=1), bucket(2**60, billed=9)], bought=3)
    assert sum(Decimal(line["EffectiveCost"]) for line in found) == Decimal(2**60 + 1) / 10**9
    for name in ("BilledCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(line[name]) for line in found) == Decimal(2**60 + 4) / 10**9


def test_only_a_trial_is_a_bill_of_nothing() -> None:
    """A customer that has used its trial alone has lines, at no cost."""
    _, found = lines(FocusVersion.V1_2, [bucket(trial=943)])
    assert [(line["ChargeCategory"], line["BilledCost"], line["PricingQuantity"]) for line in found] == [
        ("Usage", "0.00", "943.0")
    ]
