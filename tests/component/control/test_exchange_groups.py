"""Groups of exchanges: who is served with whom, in which order, and what one costs the others."""

import asyncio
from collections.abc import Sequence

import pytest

from control_service.domain.errors import ControlError, Reason, RefusedError, StorageUnavailableError
from control_service.domain.lease import Statement
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability
from control_service.usecases.fleet.exchange_groups import (
    ALONE_NS,
    GROUP_EXCHANGES_MAX,
    GROUP_STATEMENTS_MAX,
    ExchangeGroups,
)
from control_service.usecases.fleet.exchange_messages import ExchangeRequest, LeaseAnswer
from control_service.usecases.fleet.lease_statement import LeaseStatement
from tallygate._server.clock import ManualClock


class Transactions:
    """Serves groups when it is told to; `bad` nodes fail every transaction that they are in."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.groups = ExchangeGroups(self.clock, self._serve, self._serve_apart)
        self.served: list[list[str]] = []
        self.apart: list[str] = []
        self.bad: set[str] = set()
        self.refused: set[str] = set()
        self.error: Exception = ValueError("a row that cannot be read")
        self.is_open = asyncio.Event()
        self._number = 0

    def begin(self, node: str, *lease_ids: str) -> asyncio.Task[list[LeaseAnswer]]:
        """An exchange of a node on these leases."""
        self._number += 1
        request = ExchangeRequest(node, 1, self._number, 0, [_statement(node, lease_id) for lease_id in lease_ids])
        return asyncio.create_task(self.groups.exchange(request))

    async def hold(self) -> None:
        """Begins a group that is not served before `is_open`, so that what comes next gathers behind it."""
        self.is_open.clear()
        self.begin("first")
        await _turns()
        self.served.clear()

    async def _serve(self, requests: Sequence[ExchangeRequest]) -> list[list[LeaseAnswer] | ControlError]:
        self.served.append([request.node for request in requests])
        await self.is_open.wait()
        if self.bad.intersection(request.node for request in requests):
            raise self.error
        return [_refusal(one.node) if one.node in self.refused else _answers(one) for one in requests]

    async def _serve_apart(self, request: ExchangeRequest) -> list[LeaseAnswer]:
        self.apart.append(request.node)
        return _answers(request)


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _statement(node: str, lease_id: str) -> LeaseStatement:
    return LeaseStatement(node, 1, "accounts/acme/services/chat", "uid", PotKind.MONEY, Statement(lease_id))


def _answers(request: ExchangeRequest) -> list[LeaseAnswer]:
    return [LeaseAnswer(one.statement.lease_id, 1, Availability.AVAILABLE) for one in request.statements]


def _refusal(node: str) -> RefusedError:
    return RefusedError(Reason.NODE_FENCED, "fenced", node=node)


async def test_what_came_meanwhile_is_the_next_group() -> None:
    """An exchange that finds nobody is served at once; those that come while it is are served together, in order."""
    made = Transactions()
    await made.hold()
    tasks = [made.begin(f"node-{number}", f"lease-{number}") for number in (2, 0, 1)]
    await _turns()
    assert made.served == []
    made.is_open.set()
    answers = await asyncio.gather(*tasks)
    assert made.served == [["node-2", "node-0", "node-1"]]
    assert [[one.lease_id for one in each] for each in answers] == [["lease-2"], ["lease-0"], ["lease-1"]]
    assert made.groups.sizes == {1: 1, 3: 1}


async def test_a_node_has_one_exchange_in_a_group() -> None:
    """Its second one waits for the next group, as does a lease that two nodes speak of."""
    made = Transactions()
    await made.hold()
    tasks = [made.begin("a", "1"), made.begin("a", "2"), made.begin("b", "3"), made.begin("c", "1")]
    made.is_open.set()
    await asyncio.gather(*tasks)
    assert made.served == [["a", "b"], ["a", "c"]]


async def test_a_group_is_bounded() -> None:
    """By exchanges and by statements; whoever does not fit comes with the next, and no one is passed over twice."""
    made = Transactions()
    await made.hold()
    half = [f"lease-{number}" for number in range(GROUP_STATEMENTS_MAX // 2 + 1)]
    tasks = [made.begin("big", *half), made.begin("other", *(f"x{one}" for one in half)), made.begin("small", "s")]
    made.is_open.set()
    await asyncio.gather(*tasks)
    assert made.served == [["big", "small"], ["other"]]
    await made.hold()
    tasks = [made.begin(f"node-{number}") for number in range(GROUP_EXCHANGES_MAX + 1)]
    made.is_open.set()
    await asyncio.gather(*tasks)
    assert [len(group) for group in made.served] == [GROUP_EXCHANGES_MAX, 1]


async def test_large_exchanges_are_served_alone_every_second_turn() -> None:
    """So small ones wait for one large one at most."""
    made = Transactions()
    await made.hold()
    many = [f"lease-{number}" for number in range(GROUP_STATEMENTS_MAX + 1)]
    tasks = [
        made.begin("large-1", *many),
        made.begin("large-2", *many),
        made.begin("a"),
        made.begin("b"),
        made.begin("a"),
    ]
    made.is_open.set()
    await asyncio.gather(*tasks)
    assert made.served == [["large-1"], ["a", "b"], ["large-2"], ["a"]]


async def test_a_large_exchange_does_not_overtake_one_of_its_node() -> None:
    """Which would then be refused, since a later one was taken."""
    made = Transactions()
    await made.hold()
    many = [f"lease-{number}" for number in range(GROUP_STATEMENTS_MAX + 1)]
    small, large = made.begin("a", "lease"), made.begin("a", *many)
    done: list[asyncio.Task[list[LeaseAnswer]]] = []
    for task in (small, large):
        task.add_done_callback(done.append)
    made.is_open.set()
    await asyncio.gather(small, large)
    assert done == [small, large]


async def test_a_refused_exchange_is_refused_alone() -> None:
    """The others of its group are served in the same transaction."""
    made = Transactions()
    await made.hold()
    made.refused = {"fenced"}
    tasks = [made.begin("a", "1"), made.begin("fenced", "2"), made.begin("b", "3")]
    made.is_open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert made.served == [["a", "fenced", "b"]]
    assert isinstance(found[1], RefusedError)
    assert [len(found[0]), len(found[2])] == [1, 1]  # type: ignore[arg-type]  # lists


async def test_a_group_that_fails_is_halved() -> None:
    """Down to whoever fails alone, which is served apart; everybody else is served as if it had not been there."""
    made = Transactions()
    await made.hold()
    made.bad = {"node-5"}
    tasks = [made.begin(f"node-{number}", str(number)) for number in range(8)]
    made.is_open.set()
    answers = await asyncio.gather(*tasks)
    assert [len(group) for group in made.served] == [8, 4, 4, 2, 1, 1, 2]
    assert made.apart == ["node-5"]
    assert [answer.lease_id for (answer,) in answers] == [str(number) for number in range(8)]


async def test_who_failed_stays_alone_for_a_while() -> None:
    """For ten seconds no group meets a node whose exchange has failed."""
    made = Transactions()
    made.is_open.set()
    made.bad = {"bad"}
    await made.begin("bad")
    made.bad = set()
    for waited_ns, expected in ((0, [["bad"], ["a", "b"]]), (ALONE_NS, [["a", "bad", "b"]])):
        made.clock.advance(us=waited_ns // 1_000)
        await made.hold()
        tasks = [made.begin("a"), made.begin("bad"), made.begin("b")]
        made.is_open.set()
        await asyncio.gather(*tasks)
        assert made.served == expected


async def test_a_database_that_is_away_fails_all() -> None:
    """Nothing is halved: the halves would fail as well, one after the other."""
    made = Transactions()
    await made.hold()
    made.bad, made.error = {"a"}, StorageUnavailableError()
    tasks = [made.begin(node) for node in "abc"]
    made.is_open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in found] == [StorageUnavailableError] * 3
    assert made.served == [["a", "b", "c"]]
    made.bad = set()
    await asyncio.gather(*(made.begin(node) for node in "abc"))
    assert made.served[1:] == [["a", "b", "c"]], "nobody stays alone for it"


async def test_a_refusal_within_a_transaction_is_its_own_exchanges() -> None:
    """An error with a reason is not tried service by service."""
    made = Transactions()
    await made.hold()
    made.bad, made.error = {"a"}, _refusal("a")
    tasks = [made.begin(node) for node in "ab"]
    made.is_open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [RefusedError, list]
    assert made.apart == []


async def test_no_cancellation_reaches_the_group() -> None:
    """A caller that goes while its group is served takes nobody along; one that has gone before is not served."""
    made = Transactions()
    await made.hold()
    gone = made.begin("gone")
    await _turns()
    gone.cancel()
    await _turns()
    made.is_open.set()
    await made.begin("a")
    assert made.served == [["a"]]
    await made.hold()
    tasks = [made.begin(node) for node in "abc"]
    made.is_open.set()
    made.is_open.clear()
    await _turns()
    assert made.served == [["a", "b", "c"]]
    tasks[0].cancel()
    made.is_open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [asyncio.CancelledError, list, list]


async def test_a_first_caller_that_goes_does_not_stop_the_rest() -> None:
    """The task that serves is begun for one of them, and belongs to none."""
    made = Transactions()
    first = made.begin("first")
    await _turns()
    others = [made.begin(node) for node in "ab"]
    await _turns()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    made.is_open.set()
    await asyncio.gather(*others)
    assert made.served == [["first"], ["a", "b"]]


async def test_the_end_of_the_program_ends_the_group() -> None:
    """Nothing uses the database any more when it is closed."""
    made = Transactions()
    running = asyncio.create_task(made.groups.run())
    waiting = made.begin("a")
    await _turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait([waiting])
    assert waiting.cancelled()
