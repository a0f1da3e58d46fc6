"""A retired model and a closed account, by the command line, under a request that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tallygate.client import Denied, MeteringClient, Usage
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until, until_found
from tests.harness.programs.command import Up, up
from tests.harness.programs.requests import begun, refused

SERVICE = "accounts/acme/services/default-llama"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, with an account that pays by token."""
    with up(tmp_path_factory.mktemp("data")) as running:
        for command in (
            "model create llama",
            "model publish-price llama --input 1 --output 1",
            "account create acme",
            "account top-up acme --amount 10",
            "service enable-postpaid acme/default-llama",
        ):
            said = running.tallygate(*command.split())
            assert said.status == 0, said.err
        yield running


@pytest.mark.parametrize(
    ("end", "begin_again", "reason"),
    [
        ("model retire llama --yes", "model restore llama", "MODEL_RETIRED"),
        ("account close acme --yes", "account reopen acme", "ACCOUNT_CLOSED"),
    ],
)
async def test_what_runs_is_booked_and_nothing_new_is_let_in(
    running: Up, end: str, begin_again: str, reason: str
) -> None:
    """The request that ran is told to stop and pays for what it had; the next one is denied, until it is taken back."""
    async with MeteringClient(running.metering, settings=PATIENT) as metering:
        request = await begun(metering, SERVICE, input_tokens=12)
        said = await asyncio.to_thread(running.tallygate, *end.split())
        assert said.status == 0, said.err
        assert "since" in said.out
        await until(lambda: request.must_stop)
        request.set_usage(Usage(input_tokens=12, output_tokens=3))
        request.finish(want_receipt=True)
        receipt = await request.wait_recorded()
        assert request.denial is not None
        assert request.denial.reason == reason
        assert receipt is not None
        assert receipt.cost_nanos == 15_000
        assert await refused(metering, SERVICE, input_tokens=12) == reason
        shown = running.tallygate("service", "show", "acme/default-llama").out
        assert f"STOPPED ({reason})" in shown
        assert f"tallygate {begin_again}" in shown
        denied = running.tallygate("service", "create", "acme/another", "--model", "llama")
        assert reason in denied.err
        assert running.tallygate(*begin_again.split()).status == 0
        await until_found(lambda: _is_let_in(metering))


def test_a_closed_account_gets_no_key(running: Up) -> None:
    """Nor one that is brought along; the keys that it has stay."""
    assert running.tallygate("account", "create", "keyed").status == 0
    assert running.tallygate("key", "create", "keyed/first").status == 0
    assert running.tallygate("account", "close", "keyed", "--yes").status == 0
    assert "ACCOUNT_CLOSED" in running.tallygate("key", "create", "keyed/second").err
    listed = running.tallygate("key", "list", "keyed").out
    assert "accounts/keyed/keys/first" in listed
    assert "accounts/keyed/keys/second" not in listed
    (account,) = [line for line in running.tallygate("account", "list").out.splitlines() if "accounts/keyed" in line]
    assert "since" in account


async def _is_let_in(metering: MeteringClient) -> bool:
    try:
        async with metering.request(SERVICE, input_tokens=1) as request:
            request.finish()
    except Denied:
        return False
    return True
