"""The whole way with nothing but grpcurl: from an empty control service to a metered request."""

import asyncio
from typing import Any

import pytest

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.programs import Pair
from tests.harness.wire.grpcurl import grpcurl

ACCOUNTS = "tallygate.control.v1.AccountService"
CATALOG = "tallygate.control.v1.CatalogService"
LIFECYCLE = "tallygate.control.v1.LifecycleService"
METERING = "tallygate.metering.v1.MeteringService"
SERVICE = "accounts/acme/services/default-llama"


async def enable_postpaid(pair: Pair) -> Any:
    return await grpcurl(pair.control.address, f"{LIFECYCLE}/EnablePostpaid", data={"name": SERVICE})


async def authorize(pair: Pair) -> Any:
    report = {
        "request_id": "r1",
        "service": SERVICE,
        "phase": "REPORT_PHASE_AUTHORIZE",
        "usage": {"input_tokens": 100},
        "max_output_tokens": 50,
    }
    return (await grpcurl(pair.metering.address, f"{METERING}/Authorize", data={"report": report})).json["decision"]


async def test_both_services_tell_what_they_are(pair: Pair) -> None:
    """`list` and `describe` work on both without any proto file, comments of the contract aside."""
    control = (await grpcurl(pair.control.address, "list")).lines
    assert {name for name in control if name.startswith("tallygate.")} == {
        ACCOUNTS,
        CATALOG,
        LIFECYCLE,
        "tallygate.control.v1.AccessService",
        "tallygate.control.v1.AlertService",
        "tallygate.control.v1.AuditService",
        "tallygate.control.v1.FleetService",
        "tallygate.control.v1.KeyService",
        "tallygate.control.v1.LimitService",
        "tallygate.control.v1.OperationsService",
        "tallygate.control.v1.RecoveryService",
        "tallygate.control.v1.TeamService",
        "tallygate.control.v1.TokenService",
    }
    metering = (await grpcurl(pair.metering.address, "list")).lines
    assert {name for name in metering if name.startswith("tallygate.")} == {
        METERING,
        "tallygate.metering.v1.DiagnosticsService",
        "tallygate.metering.v1.RecoveryService",
        "tallygate.metering.v1.UsageService",
    }
    described = await grpcurl(pair.control.address, "describe", f"{LIFECYCLE}.EnablePostpaid")
    assert "rpc EnablePostpaid ( .tallygate.control.v1.EnablePostpaidRequest )" in described.stdout
    for address in (pair.control.address, pair.metering.address):
        assert (await grpcurl(address, "grpc.health.v1.Health/Check")).json == {"status": "SERVING"}


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
async def test_from_nothing_to_a_metered_request(pair: Pair) -> None:
    """Account, money, model; pay-as-you-go is refused until there is a price; then a request is allowed and paid."""
    control = pair.control.address
    await grpcurl(control, f"{ACCOUNTS}/CreateAccount", data={"name": "accounts/acme"})
    paid = await grpcurl(
        control, f"{ACCOUNTS}/TopUpAccount", data={"name": "accounts/acme", "amount_nanos": "5000000000"}
    )
    assert paid.json["account"]["balance_nanos"] == "5000000000"
    assert (await grpcurl(control, f"{CATALOG}/CreateModel", data={"name": "models/llama"})).exit_code == 0

    refused = await enable_postpaid(pair)
    assert refused.exit_code != 0
    assert "Code: FailedPrecondition" in refused.stderr
    assert '"reason":"NO_PRICE_IN_FORCE"' in refused.stderr
    assert '"domain":"tallygate"' in refused.stderr

    price = {
        "model": "models/llama",
        "input_nanos_per_million_tokens": "1000000000",
        "output_nanos_per_million_tokens": "2000000000",
    }
    assert (await grpcurl(control, f"{CATALOG}/PublishPrice", data=price)).exit_code == 0
    enabled = (await enable_postpaid(pair)).json["inference_service"]
    assert enabled["postpaid"] == "POSTPAID_STATE_ENABLED"

    async with asyncio.timeout(PATIENCE_S):
        while (decision := await authorize(pair))["verdict"] != "VERDICT_ALLOW":
            assert decision["retryable"], decision
    assert int(decision["grant"]["output_ceiling_tokens"]) > 0

    finish = {
        "request_id": "r1",
        "service": SERVICE,
        "phase": "REPORT_PHASE_FINISH",
        "usage": {"input_tokens": 100, "output_tokens": 50},
    }
    done = await grpcurl(pair.metering.address, f"{METERING}/Report", data={"report": finish})
    assert done.json["decision"]["receipt"]["cost_nanos"] == "200000"
