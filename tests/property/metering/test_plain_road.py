"""The plain road comes to the same as the long way: whatever is said, in whatever order, of whatever service."""

from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_service import IS_COMPILED
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision
from metering_service.domain.price import Price
from metering_service.domain.report import Phase, Report
from metering_service.usecases import meter_stream
from metering_service.usecases.reports import process
from metering_service.usecases.reports.plain import NOT_PLAIN, authorise_plainly
from metering_service.usecases.stream_finishes import FinishRoad
from metering_service.usecases.stream_messages import COUNTS_NUMBER
from tallygate.metering.v1.report_pb2 import TokenReport
from tests.harness.metering.budgets import ACCOUNT_NAME, put_budget
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.rules import put_rule
from tests.harness.metering.services import running

NAME = f"{ACCOUNT_NAME}/services/"
PRICE = Price(1, input=1_300_000, cached_input=400_000, output=5_700_000, reasoning=5_700_000)
MONEY: dict[str, Any] = {"postpaid_pays": True, "debt_allowed": True, "price": PRICE}
SERVICES: dict[str, dict[str, Any]] = {
    "money": MONEY,
    "free": {**MONEY, "price": Price(2)},
    "unpriced": {"postpaid_pays": True, "debt_allowed": True},
    "trial": {"trial_pays": True},
    "both": {"trial_pays": True, **MONEY},
    "keyed": {"requires_key": True, **MONEY},
    "lasting": {"outage_tokens_max": 500, **MONEY},
    "team": {"team": "red", **MONEY},
    "nothing": {},
}
REPORTS = st.tuples(
    st.sampled_from([Phase.AUTHORIZE, Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH, Phase.FINISH]),
    st.sampled_from([f"r{number}" for number in range(8)]),
    st.sampled_from([*SERVICES, "unknown", *["money"] * 20, *["trial"] * 12]),
    st.builds(Counts, st.integers(0, 90), st.integers(0, 20), st.just(0), st.integers(0, 40), st.integers(0, 40)),
    st.fixed_dictionaries(
        {},
        optional={
            "max_output_tokens": st.sampled_from([0, 1, 20, 5_000]),
            "estimated": st.booleans(),
            "want_receipt": st.booleans(),
            "labels": st.just((("app", "chat"),)),
        },
    ),
    st.sampled_from([0, 0, 20, 60]),
)


def long_way() -> AbstractContextManager[Any]:
    """Every report takes it."""
    stack = ExitStack()
    for road in ("authorise_plainly", "finish_plainly"):
        stack.enter_context(patch.object(process, road, lambda *_: NOT_PLAIN))
    stack.enter_context(patch.object(FinishRoad, "take", lambda *_: False))
    return stack


def everything_said(
    steps: list[tuple[Phase, str, str, Counts, dict[str, Any], int]], balance: int, limited: str, message: int
) -> list[Any]:
    """What a node answers, writes, and has on lease in the end."""
    fleet = Fleet()
    for service, facts in SERVICES.items():
        config = fleet.control.put(running(f"{NAME}{service}", **facts))
        if config.trial_pays:
            fleet.control.trial(config, 40_000)
    fleet.control.top_up(balance)
    if limited:
        put_rule(fleet, 2_000, place=f"{NAME}{limited}", place_uid=f"uid-{limited}")
        put_budget(fleet, 1_000, place=f"{NAME}{limited}", place_uid=f"uid-{limited}")
    fleet.run(ms=40)
    client, node = Client(fleet["a"]), fleet["a"].node
    # The first request of each has to wait for a lease, and so takes the long way.
    client.send(*(report(Phase.AUTHORIZE, f"first-{each}", Counts(1), service=f"{NAME}{each}") for each in SERVICES))
    fleet.run(ms=60)
    said: list[Report] = []
    began: dict[str, str] = {}
    for phase, request_id, any_service, counts, more, wait_ms in steps:
        if phase is Phase.AUTHORIZE:
            began[request_id] = any_service
        service = began.get(request_id, any_service)
        said.append(report(phase, request_id, counts, service=f"{NAME}{service}", **more))
        if len(said) >= message or wait_ms:
            client.send(*said)
            said.clear()
            fleet.run(ms=wait_ms)
    client.send(*said)
    fleet.run(ms=100)
    client.hear()
    leases = [
        (name, lease.kind, lease.granted, lease.held, lease.booked, lease.committed, lease.returned)
        for name, holder in sorted(node.lease_index.holders.items())
        for lease in holder.all_leases()
    ]
    database = fleet.database
    rest = (client.answered, client.durable, sorted(map(str, node.silent)), list(node.finished), node.room.count)
    return [client.decisions, database.requests, database.aggregates, database.denials, database.leases, leases, rest]


@pytest.mark.skipif(IS_COMPILED, reason="what is compiled takes no patches")
@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(REPORTS, min_size=10, max_size=30),
    balance=st.sampled_from([2_000, 10**9, 10**9]),
    limited=st.sampled_from(["", "", "", "money", "trial"]),
    message=st.integers(1, 6),
)
def test_both_come_to_the_same(
    steps: list[tuple[Phase, str, str, Counts, dict[str, Any], int]], balance: int, limited: str, message: int
) -> None:
    """Decisions with their tokens, records, totals, leases, and what is remembered."""
    plain = everything_said(steps, balance, limited, message)
    with long_way():
        long = everything_said(steps, balance, limited, message)
    assert plain == long


def test_what_is_plain_takes_the_plain_road() -> None:
    """Money or a trial pays, and there is enough of it."""
    fleet = Fleet()
    for service in ("money", "trial"):
        config = fleet.control.put(running(f"{NAME}{service}", **SERVICES[service]))
        fleet.control.trial(config, 10**6)
    fleet.control.top_up(10**12)
    fleet.run(ms=20)
    client = Client(fleet["a"])
    for service in ("money", "trial"):
        first = report(Phase.AUTHORIZE, f"first-{service}", Counts(10), service=f"{NAME}{service}")
        client.say(first)
        fleet.run(ms=40)
        answer = authorise_plainly(fleet["a"].node, first._replace(request_id="second"), client.session)
        assert isinstance(answer, Decision)
        assert answer.allowed
        fleet["a"].node.services[f"{NAME}{service}"].open.pop("second")


@pytest.mark.skipif(IS_COMPILED, reason="what is compiled takes no patches")
def test_bare_finishes_are_booked_together() -> None:
    """Of all services in one message, whatever stands between them; each of their requests is on record."""
    fleet = Fleet()
    for service in ("money", "trial"):
        config = fleet.control.put(running(f"{NAME}{service}", **SERVICES[service]))
        fleet.control.trial(config, 10**6)
    fleet.control.top_up(10**12)
    fleet.run(ms=20)
    client = Client(fleet["a"])
    names = {f"{each}-{number}": f"{NAME}{each}" for each in ("money", "trial") for number in range(5)}
    for request_id, service in names.items():
        client.say(report(Phase.AUTHORIZE, request_id, Counts(10), service=service))
    fleet.run(ms=100)
    finishes = [report(Phase.FINISH, request_id, Counts(10, 0, 0, 5), service="") for request_id in names]
    with patch.object(meter_stream, "process", side_effect=AssertionError("a bare finish took the long way")):
        client.send(*finishes)
    before = client.durable
    fleet.run(ms=40)
    client.hear()
    assert (before, client.durable) == (10, 20)
    ended = {each.request_id: each.receipt for each in fleet.database.requests.values() if each.state != "open"}
    assert {request_id: receipt.usage.total for request_id, receipt in ended.items()} == dict.fromkeys(names, 15)
    assert all(receipt.trial.total == 15 * (request_id[0] == "t") for request_id, receipt in ended.items())


def test_nothing_beyond_the_counts_is_said_by_a_lower_number() -> None:
    """What tells that a finish says its counts alone."""
    below = {field.name for field in TokenReport.DESCRIPTOR.fields if field.number <= COUNTS_NUMBER}
    assert below == {"request_id", "service", "phase", "usage"}
