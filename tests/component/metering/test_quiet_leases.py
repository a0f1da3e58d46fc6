"""Leases that are not looked at, since time alone gives them nothing to say: a look would find just that."""

from copy import deepcopy
from random import Random
from typing import Any

import pytest

from metering_service import IS_COMPILED
from metering_service.domain.counts import Counts
from metering_service.domain.lease import LeaseStatement
from metering_service.domain.report import Phase
from metering_service.usecases.leases import due_holders
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.state.service_state import ServiceState
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_money, with_reservation, with_trial

SERVICES = [f"accounts/acme/services/s{number}" for number in range(4)]
RESERVED = "accounts/acme/services/chat"
STEPS = 60
RESTS_MS = (20, 100, 400, 1_000, 1_000, 2_500, 11_000)


class Looks:
    """Looks, on a copy, at each lease that an exchange has left alone; `left_alone`: how many that were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left_alone = 0
        statements = LeaseKeeper.statements

        def looked(keeper: LeaseKeeper) -> list[LeaseStatement]:
            said = statements(keeper)
            self._look(keeper)
            return said

        monkeypatch.setattr(LeaseKeeper, "statements", looked)

    def _look(self, keeper: LeaseKeeper) -> None:
        node = keeper._node
        now_ns, index = node.clock.monotonic_ns(), node.lease_index
        for holder in index.holders.values():
            if holder.next_look_ns > now_ns and holder.name not in index.moved:
                for lease in holder.all_leases():
                    self.left_alone += 1
                    unseen = deepcopy(lease)
                    if isinstance(holder, ServiceState) and not keeper._keeps_reserve(holder, now_ns):
                        unseen.demand.reserve = 0
                    assert not unseen.is_idle(now_ns)
                    assert unseen.statement(now_ns, idle=holder.is_at_rest) is None


@pytest.mark.skipif(IS_COMPILED, reason="what is compiled takes no patches")
@pytest.mark.parametrize("seed", range(3))
def test_a_lease_that_is_left_alone_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever pays, however much is left of it, and whatever happened before."""
    monkeypatch.setattr(due_holders, "VISITED_MIN", 1)
    looks, chance, fleet = Looks(monkeypatch), Random(seed), Fleet()
    for at, name in enumerate(SERVICES):
        outage_tokens_max = 500 if at % 3 == 0 else 0
        if at % 2:
            with_trial(fleet, chance.choice((600, 10**6)), name=name, outage_tokens_max=outage_tokens_max)
        else:
            with_money(fleet, chance.choice((600, 10**6)), name=name, outage_tokens_max=outage_tokens_max)
    with_reservation(fleet, 600)
    client, running = Client(fleet["a"]), dict[str, tuple[str, int]]()
    for step in range(STEPS):
        if running and chance.random() < 0.6:
            request_id = chance.choice(list(running))
            name, output = running[request_id]
            phase = chance.choice((Phase.PROGRESS, Phase.PROGRESS, Phase.FINISH))
            output += chance.randrange(200)
            client.send(report(phase, request_id, Counts(20, output=output), service=name))
            running[request_id] = name, output
            if phase is Phase.FINISH:
                del running[request_id]
        else:
            name = chance.choice([*SERVICES, RESERVED, RESERVED])
            running[f"r{step}"] = name, 0
            client.send(report(Phase.AUTHORIZE, f"r{step}", Counts(20), service=name))
        rest_ms = chance.choice(RESTS_MS)
        fleet.run(ms=rest_ms % 1_000, seconds=rest_ms // 1_000)
    fleet.run(seconds=70)
    assert looks.left_alone > STEPS


def test_a_reserve_goes_back_a_minute_after_the_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever its lease was looked at last, if only to hear that nothing is to be said."""
    monkeypatch.setattr(due_holders, "VISITED_MIN", 1)
    fleet = Fleet()
    client = Client(fleet["a"])
    for name in SERVICES:
        with_trial(fleet, 10**6, name=name, outage_tokens_max=500)
        client.send(report(Phase.AUTHORIZE, name[-2:], Counts(20), service=name))
        fleet.run(ms=500)
        client.send(report(Phase.FINISH, name[-2:], Counts(20, output=20), service=name))
    fleet.run(seconds=30)
    index = fleet["a"].node.lease_index
    leases = [lease for holder in index.holders.values() for lease in holder.all_leases()]
    assert [lease.free for lease in leases] == [500] * len(SERVICES)
    index.moved.update(index.holders)
    fleet.run(seconds=32)
    assert [lease.free for lease in leases] == [0] * len(SERVICES)


def test_units_go_back_once_a_wait_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits for something else keeps them, and when it is refused nothing happens to their lease."""
    monkeypatch.setattr(due_holders, "VISITED_MIN", 1)
    fleet = Fleet()
    client, node = Client(fleet["a"]), fleet["a"].node
    for name in SERVICES:
        with_money(fleet, 10**9, name=name)
        client.send(report(Phase.AUTHORIZE, name[-2:], Counts(20), service=name))
    fleet.run(ms=500)
    waiter: Any = object()
    for name in SERVICES:
        client.send(report(Phase.FINISH, name[-2:], Counts(20, output=20), service=name))
        node.services[name].waiters.append(waiter)
    fleet.run(ms=900)
    leases = [lease for holder in node.lease_index.holders.values() for lease in holder.all_leases()]
    assert all(lease.free for lease in leases)
    for name in SERVICES:
        node.services[name].waiters.clear()
    fleet.run(seconds=2)
    assert [lease.free for lease in leases] == [0] * len(SERVICES)
