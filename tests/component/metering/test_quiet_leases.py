"""Leases that are not looked at, since time alone gives them nothing to say: a look would find just that."""

from copy import deepcopy
from random import Random

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.lease import LeaseStatement
from metering_service.domain.report import Phase
from metering_service.usecases.leases import due_holders
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
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
                    assert not unseen.is_idle(now_ns)
                    assert unseen.statement(now_ns, idle=holder.is_at_rest) is None


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
