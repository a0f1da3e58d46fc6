"""Costs as FOCUS, the FinOps Open Cost and Usage Specification: a line for each service, team, payer and day.

Money is in units of the currency with a decimal point, times end in `Z`, what does not apply is empty. Columns of ours
begin with `x_` and come last. Usage has the cost that nodes have booked; reservations are purchases, and the tokens
that they cover cost nothing further.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final

from google.protobuf.timestamp_pb2 import Timestamp

from tallygate._wire.amounts import units_text
from tallygate.control.v1 import statement_pb2
from tallygate.export.records import PAYERS
from tallygate.metering.v1 import usage_bucket_pb2

_BEFORE_NAMES: Final = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost"),
)
_AFTER_NAMES: Final = ("ListCost", "PricingCategory", "PricingQuantity", "PricingUnit")
_RESOURCES: Final = ("ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName")
_LAST: Final = ("ServiceSubcategory", "SubAccountId", "SubAccountName", "Tags")
_OURS: Final = ("x_Model", "x_Payer", "x_RequestCount")


class FocusVersion(StrEnum):
    """The versions of FOCUS that can be written."""

    V1_2 = "1.2"
    V1_4 = "1.4"


COLUMNS: Final = {
    FocusVersion.V1_2: (
        *_BEFORE_NAMES,
        *("InvoiceId", "InvoiceIssuerName"),
        *_AFTER_NAMES,
        *("ProviderName", "PublisherName"),
        *_RESOURCES,
        *_LAST,
        *_OURS,
    ),
    FocusVersion.V1_4: (
        *_BEFORE_NAMES,
        *("HostProviderName", "InvoiceDetailId", "InvoiceId", "InvoiceIssuerName"),
        *_AFTER_NAMES,
        *_RESOURCES,
        "ServiceProviderName",
        *_LAST,
        *_OURS,
    ),
}
"""Columns of each version, in their order: 1.4 says who sells and who hosts where 1.2 says provider and publisher."""

TOKENS: Final = "Tokens"
"""Unit of what is used, as FOCUS writes units: in the plural, capitalised."""

_DESCRIPTIONS: Final = {
    "reserved": "covered by a reservation",
    "trial": "covered by the free trial",
    "billed": "pay-as-you-go",
    "unfunded": "paid for by nobody",
}


@dataclass(frozen=True, slots=True)
class Bill:
    """Whose costs these are, and of which month. `provider`: who sells the models; it issues the invoices as well."""

    account: str
    account_name: str
    currency: str
    start: Timestamp
    end: Timestamp
    provider: str


class FocusFile:
    """Writes costs to a binary file as comma-separated values. `models`: of services, by name."""

    def __init__(self, file: BinaryIO, version: FocusVersion, bill: Bill, models: Mapping[str, str]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.DictWriter(
            self._text, COLUMNS[version], restval="", extrasaction="ignore", lineterminator="\n"
        )
        self._writer.writeheader()
        self._bill = bill
        self._models = models

    def write_usage(self, buckets: Iterable[usage_bucket_pb2.UsageBucket]) -> None:
        """Writes what was used, a line for each payer. Buckets are grouped by service and team."""
        for bucket in buckets:
            self._writer.writerows(self._usage(bucket))

    def write_purchases(self, lines: Iterable[statement_pb2.StatementLine]) -> None:
        """Writes the reservations that were bought in the month, a line for each service and team."""
        for line in lines:
            self._writer.writerow(
                self._charge(line.inference_service, line.team, -line.amount_nanos)
                | {
                    "ChargeCategory": "Purchase",
                    "ChargeDescription": "Tokens per minute, reserved",
                    "ChargeFrequency": "One-Time",
                    "ChargePeriodStart": utc(self._bill.start),
                    "ChargePeriodEnd": utc(self._bill.end),
                    # What covers future charges is not effective at its purchase, says FOCUS.
                    "EffectiveCost": units_text(0),
                    "PricingQuantity": quantity(line.entry_count),
                    "PricingUnit": "Reservations",
                }
            )

    def close(self) -> None:
        """Ends the table; the file itself stays open."""
        self._text.flush()
        self._text.detach()

    def _usage(self, bucket: usage_bucket_pb2.UsageBucket) -> Iterator[dict[str, str]]:
        service, team = bucket.group["service"], bucket.group["team"]
        for payer in PAYERS:
            tokens = getattr(bucket.payers, f"{payer}_tokens")
            cost_nanos = bucket.cost_nanos if payer == "billed" else 0
            if not tokens and not cost_nanos:
                continue
            model = self._models.get(service, "").removeprefix("models/")
            yield self._charge(service, team, cost_nanos) | {
                "ChargeCategory": "Usage",
                "ChargeDescription": f"Tokens of {model or service}, {_DESCRIPTIONS[payer]}",
                "ChargeFrequency": "Usage-Based",
                "ChargePeriodStart": utc(bucket.start_time),
                "ChargePeriodEnd": utc(bucket.end_time),
                "ConsumedQuantity": quantity(tokens),
                "ConsumedUnit": TOKENS,
                "PricingQuantity": quantity(tokens),
                "PricingUnit": TOKENS,
                "x_Payer": payer,
                "x_RequestCount": str(bucket.request_count),
            }

    def _charge(self, service: str, team: str, cost_nanos: int) -> dict[str, str]:
        """What all lines have; the four costs of usage are one, since there are no discounts."""
        bill, cost = self._bill, units_text(cost_nanos)
        costs = dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)
        names = ("HostProviderName", "InvoiceIssuerName", "ProviderName", "PublisherName", "ServiceProviderName")
        return {
            **costs,
            **dict.fromkeys(names, bill.provider),
            "BillingAccountId": bill.account,
            "BillingAccountName": bill.account_name,
            "BillingCurrency": bill.currency,
            "BillingPeriodStart": utc(bill.start),
            "BillingPeriodEnd": utc(bill.end),
            "PricingCategory": "Standard",
            "ResourceId": service,
            "ResourceName": service.rpartition("/")[2],
            "ResourceType": "Inference Service",
            "ServiceCategory": "AI and Machine Learning",
            "ServiceName": "Model Inference",
            "ServiceSubcategory": "Generative AI",
            "SubAccountId": f"{bill.account}/teams/{team}" if team else "",
            "SubAccountName": team,
            "Tags": json.dumps({"team": team} if team else {}),
            "x_Model": self._models.get(service, ""),
        }


def quantity(count: int) -> str:
    """A count as FOCUS writes quantities: readers of files take one without a point for an integer, which it is not."""
    return f"{count}.0"


def utc(time: Timestamp) -> str:
    """A moment to the second, as FOCUS writes it."""
    return f"{time.ToDatetime():%Y-%m-%dT%H:%M:%SZ}"
