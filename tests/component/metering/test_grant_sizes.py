"""How much is asked for, and granted, as pots are plentiful, scarce, or with others."""

from collections.abc import Iterator, Sequence

from metering_service.domain.counts import Counts
from metering_service.domain.grant import GRANT_TOKENS_MAX, GRANT_TOKENS_MIN
from metering_service.domain.lease import LeaseAnswer, LeaseStatement
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_trial
from tests.harness.metering.two_nodes import granted

PLENTY_TOKENS = 10**9
INPUT_TOKENS = 100


def begin(client: Client, request_id: str = "r1") -> int:
    """The ceiling that a new request is granted at once."""
    return granted(client.say(report(Phase.AUTHORIZE, request_id, Counts(INPUT_TOKENS)))).output_ceiling_tokens


def at_rest() -> tuple[Fleet, Client]:
    """A node with plenty, and the stream of a request that runs there, whose lease was given back."""
    fleet = Fleet()
    with_trial(fleet, PLENTY_TOKENS)
    client = Client(fleet["a"])
    begin(client)
    fleet.run(seconds=12)
    return fleet, client


def said_of_leases(fleet: Fleet, client: Client, lengths: Iterator[int], *, seconds: int) -> list[LeaseStatement]:
    """All that the node says of leases while a request grows, with so much time between its reports."""
    said: list[LeaseStatement] = []
    exchange = fleet.control.exchange

    def noted(node: str, epoch: int, statements: Sequence[LeaseStatement]) -> list[LeaseAnswer]:
        said.extend(statements)
        return exchange(node, epoch, statements)

    fleet.control.exchange = noted  # type: ignore[method-assign]
    for output_tokens in lengths:
        client.say(report(Phase.PROGRESS, "r1", Counts(INPUT_TOKENS, output=output_tokens)))
        fleet.run(seconds=seconds)
        client.hear()
        assert client.answered == client.sequence
    return said


def test_the_first_grant_of_a_service_is_of_full_size_where_there_is_plenty() -> None:
    """A node that has no lease yet asks for one that such a grant fits in."""
    fleet = Fleet()
    with_trial(fleet, PLENTY_TOKENS)
    assert begin(Client(fleet["a"])) == GRANT_TOKENS_MAX


def test_a_request_that_reports_seldom_needs_few_exchanges_of_leases() -> None:
    """Between its reports the lease is at rest and given back; each renewal goes half as far again all the same."""
    fleet, client = at_rest()
    said = said_of_leases(fleet, client, iter(range(100, 40_000, 100)), seconds=5)
    renewals = [decision for _, decision in client.decisions if decision.grant is not None]
    assert len(renewals) <= 12
    assert len([statement for statement in said if statement.needed_units]) <= 12
    # Two more to say what is held, and to give back what was not taken.
    assert len(said) <= 3 * 12


def test_only_the_least_is_needed_of_a_pot_that_others_use_too() -> None:
    """All that is left may go to whoever needs it: what would only be of use must not be said to be needed."""
    fleet, client = at_rest()
    said = said_of_leases(fleet, client, iter([GRANT_TOKENS_MAX]), seconds=1)
    assert [statement.needed_units for statement in said if statement.needed_units] == [GRANT_TOKENS_MIN]


def test_where_little_is_left_one_request_does_not_take_it_all() -> None:
    """Ten of them begin, on two nodes, with what is not much more than the input of all."""
    fleet = Fleet("a", "b")
    with_trial(fleet, 10 * INPUT_TOKENS + 500)
    clients = [Client(fleet[name]) for name in ("a", "b")]
    for number in range(10):
        assert begin(clients[number % 2], f"r{number}") >= GRANT_TOKENS_MIN
