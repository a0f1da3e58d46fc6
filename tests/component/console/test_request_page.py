"""The page of a request: who paid for each kind, at which price, and why it was denied."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from metering_service.domain.cut import Cut
from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.denial_log import Denial
from metering_service.domain.rate_rule import RateMetric, RateRule
from metering_service.domain.rate_status import RateStatus
from tallygate.metering.v1.usage_service_pb2 import GetRequestUsageRequest
from tests.harness.console.console_harness import NOWHERE, site_of
from tests.harness.console.metered_stage import AS_OPERATOR, MeteredStage, metered_stage, rows_of
from tests.harness.metering.records import NOON_US, open_request, settled_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "/accounts/acme/requests"
SERVICE = "accounts/acme/services/default-llama"
KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")
PAYERS = ("usage", "reserved", "trial", "billed", "unfunded")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeteredStage]:
    """Two nodes; requests that ended, had to end, and run, another account's, and one that the second node denied."""
    async with metered_stage(tmp_path_factory.mktemp("requests"), node_count=2) as stage:
        await stage.control.publish(2_000_000_000)
        await stage.control.publish(3_000_000_001)
        ended = settled_request("ended", service=SERVICE, team="red")
        await stage.write(ended, open_request("runs", service=SERVICE, team="blue"))
        told = Cut(Reason.BUDGET_EXCEEDED, NOON_US + 7_000_000, 0, "accounts/acme/budgets/cap")
        await stage.write(settled_request("cut", service=SERVICE, told=told))
        await stage.write(settled_request("theirs", service="accounts/other/services/chat"))
        decision = Decision("denied", Reason.BALANCE_INSUFFICIENT, remaining_tokens=7, remaining_nanos=12_345)
        _, second = stage.nodes.values()
        second.denials.note(Denial(SERVICE, "red", "key-1", NOON_US + 5_000_000, decision))
        rule = RateRule("accounts/acme/rateRules/fair", SERVICE, RateMetric.REQUESTS, 60, 60_000, 60)
        waits = deny("denied", Reason.REQUEST_RATE, retry_after_ms=26_100, rate=RateStatus(rule, 0, 60_000))
        second.denials.note(Denial(SERVICE, "red", "", NOON_US + 6_000_000, waits))
        yield stage


async def test_a_record_is_shown_to_the_token_and_the_nano(stage: MeteredStage) -> None:
    """Each payer's part of each kind, the cost, and the price of the version by which it was billed."""
    request = GetRequestUsageRequest(service=SERVICE, request_id="ended")
    (part,) = (await stage.usage.GetRequestUsage(request, metadata=AS_OPERATOR)).parts
    receipt = part.receipt
    assert receipt.price_version == 3
    page = await (await stage.signed_in("vera")).get(PAGE, params={"request_id": "ended"})
    rows = {row[0]: row[1:] for row in rows_of(page.text)}
    for kind in KINDS:
        counts = [f"{getattr(getattr(receipt, payer), f'{kind}_tokens'):,}" for payer in PAYERS]
        assert rows[kind.replace("_", " ").capitalize()] == [*counts, "3000000001"]
    assert f'value="{receipt.cost_nanos}"' in page.text
    assert f'value="{receipt.debt_nanos}"' in page.text
    assert "Finished" in page.text


async def test_what_runs_has_counts_and_no_payers(stage: MeteredStage) -> None:
    """They are settled at its end."""
    page = await (await stage.signed_in("vera")).get(PAGE, params={"request_id": "runs"})
    assert {row[0]: row[1:] for row in rows_of(page.text)}["Input"] == ["100"]
    assert "who pays is settled at its end" in page.text


async def test_why_a_request_had_to_end_is_told(stage: MeteredStage) -> None:
    """With the budget that refused; nothing is said of one that ended by itself."""
    browser = await stage.signed_in("vera")
    page = await browser.get(PAGE, params={"request_id": "cut"})
    assert "Had to end" in page.text
    assert "Budget exceeded" in page.text
    assert "<code>cap</code>" in page.text
    assert "Had to end" not in (await browser.get(PAGE, params={"request_id": "ended"})).text


async def test_a_denial_is_told_by_the_node_that_remembers_it(stage: MeteredStage) -> None:
    """With the service's own sentence, and what was left."""
    page = await (await stage.signed_in("vera")).get(PAGE, params={"request_id": "denied"})
    _, address = stage.nodes
    assert f"by the node at <code>{address}</code>" in page.text
    assert "Balance insufficient" in page.text
    assert "7 tokens were left" in page.text
    assert 'value="12345"' in page.text
    assert "<code>fair</code> lets 60 requests in 1 minute pass; 0 were left" in page.text
    assert "Worth another attempt after 26 seconds." in page.text


async def test_nothing_known_is_said_and_nothing_typed_is_asked_for(stage: MeteredStage) -> None:
    """An id that no request may have is refused beside its field."""
    browser = await stage.signed_in("vera")
    assert "Paste an id" in (await browser.get(PAGE)).text
    assert "Nothing is known of this request" in (await browser.get(PAGE, params={"request_id": "none"})).text
    refused = await browser.get(PAGE, params={"request_id": "x" * 65})
    assert refused.status_code == 400
    assert "must be 1 to 64 bytes" in refused.text
    assert f'value="{"x" * 65}"' in refused.text


async def test_nodes_that_are_away_know_nothing_and_say_nothing(stage: MeteredStage) -> None:
    """That there is no record is said by a node alone."""
    browser = await stage.signed_in("vera")
    lines = [site_of(stage.app).metering.alone(address)._lines[0] for address in stage.nodes]
    channels = [line._channel for line in lines]
    for line in lines:
        line._channel = grpc.aio.insecure_channel(NOWHERE)
    try:
        page = await browser.get(PAGE, params={"request_id": "ended"})
    finally:
        for line, channel in zip(lines, channels, strict=True):
            line._channel = channel
    assert "does not answer" in page.text
    assert "Nothing is known" not in page.text
    assert "cannot be read now" in page.text


async def test_others_learn_nothing(stage: MeteredStage) -> None:
    """A team's member of what its team did not ask for, another tenant of the whole account."""
    rita, otto = await stage.signed_in("rita"), await stage.signed_in("otto")
    assert "Finished" in (await rita.get(PAGE, params={"request_id": "ended"})).text
    for request_id in ("runs", "theirs"):
        assert "Nothing is known" in (await rita.get(PAGE, params={"request_id": request_id})).text
    assert (await otto.get(PAGE, params={"request_id": "ended"})).status_code == 404
