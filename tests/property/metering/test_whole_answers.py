"""Many answers that come as a whole, on several nodes: never more is held than there is, and nothing is overrun."""

from hypothesis import given, settings
from hypothesis import strategies as st

from metering_service.domain.counts import Counts
from metering_service.domain.pot import PotKind
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, with_money, with_trial

ASKED = st.tuples(
    st.integers(0, 40),  # input
    st.one_of(st.none(), st.integers(0, 900)),  # max_output_tokens
    st.integers(0, 100),  # how much of it is generated, in percent
    st.booleans(),  # whether it streams instead
    st.integers(0, 200),  # ms before the next
)


@settings(max_examples=40, deadline=None)
@given(
    capacity=st.integers(1, 2_000),
    by_trial=st.booleans(),
    nodes=st.integers(1, 3),
    asked=st.lists(ASKED, min_size=1, max_size=8),
)
def test_never_more_is_held_than_there_is(
    *, capacity: int, by_trial: bool, nodes: int, asked: list[tuple[int, int | None, int, bool, int]]
) -> None:
    """Whoever asks for how much, and streams beside it; in the end all is free but what was generated."""
    fleet = Fleet(*"abc"[:nodes])
    (with_trial if by_trial else with_money)(fleet, capacity, whole_output_tokens_default=500)
    kind = PotKind.TRIAL if by_trial else PotKind.MONEY
    key = fleet.control.key(UID if by_trial else "", kind)
    clients = [Client(rig) for rig in fleet.rigs.values()]

    def held() -> int:
        states = [rig.node.services.get(SERVICE) for rig in fleet.rigs.values()]
        return sum(lease.held for state in states if state is not None for lease in state.leases.values())

    for number, (input_tokens, limit, _, streams, wait_ms) in enumerate(asked):
        counts = Counts(input_tokens)
        clients[number % nodes].send(
            report(Phase.AUTHORIZE, f"r{number}", counts, max_output_tokens=limit, whole=not streams)
        )
        fleet.run(ms=wait_ms)
        assert held() <= capacity
    fleet.run(ms=1_500)
    assert held() <= capacity
    used = 0
    for number, (input_tokens, limit, percent, streams, _) in enumerate(asked):
        client = clients[number % nodes]
        client.hear()
        grants = [each.grant for _, each in client.decisions if each.request_id == f"r{number}" and each.grant]
        if not grants:
            continue
        ceiling = grants[-1].output_ceiling_tokens
        if not streams:
            assert (len(grants), grants[0].is_final) == (1, True)
            wanted = 500 if limit is None else limit
            assert ceiling <= wanted
            assert ceiling == wanted or ceiling >= 16
        output_tokens = ceiling * percent // 100
        used += input_tokens + output_tokens
        client.send(report(Phase.FINISH, f"r{number}", Counts(input_tokens, output=output_tokens)))
    fleet.run(seconds=100)
    assert held() == 0
    assert fleet.control.outstanding(key) == 0
    assert fleet.control.spent[key] == used <= capacity
    assert all(record.receipt.overrun_tokens == 0 for record in fleet.database.requests.values())
