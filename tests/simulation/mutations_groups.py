"""Bugs planted in how exchanges of leases share a transaction."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from control_service.domain.lease import extend
from control_service.domain.lease_round import LeaseRound
from control_service.storage.nodes import NodeRows
from control_service.usecases.fleet.exchange_admission import Admission, admit
from control_service.usecases.fleet.lease_exchange import ExchangeLeases
from tests.simulation.planting import mutation, mutation_of_calm


class _Undone(Exception):  # noqa: N818  # what becomes of the transaction
    """The transaction is rolled back."""


def _served_with(judge: Callable[[Admission], None]) -> AbstractContextManager[Any]:
    """Whoever was answered hears the answer, whatever becomes of the transaction, which `judge` may end."""

    async def together(self: Any, requests: Sequence[Any]) -> Any:
        now_us, served = self._clock.now_us(), None
        try:
            async with self._database.writing() as tx:
                admission = await admit(tx, requests, self._expected_version, now_us)
                stated = [one for request in admission.taken for one in request.statements]
                answers = iter(self._answers(await self._take(tx, stated, now_us)))
                served = [
                    admission.refused.get(request.node) or [next(answers) for _ in request.statements]
                    for request in requests
                ]
                judge(admission)
        except Exception:
            if served is None:
                raise
        return served

    return patch.object(ExchangeLeases, "_exchange_together", together)


@mutation_of_calm
def answered_before_the_commit() -> AbstractContextManager[Any]:
    """Callers are answered, and memory is changed, before the group is committed, which then fails."""
    return _served_with(lambda _admission: None)


@mutation_of_calm
def a_refusal_undoes_the_group() -> AbstractContextManager[Any]:
    """One exchange of a group is refused, and what the others were answered is rolled back."""

    def judge(admission: Admission) -> None:
        if admission.refused:
            raise _Undone

    return _served_with(judge)


@mutation_of_calm
def nodes_of_a_group_have_the_same_room() -> AbstractContextManager[Any]:
    """What one node of a group is granted is still there for the next one."""
    real = LeaseRound.run

    def run(self: Any, works: Any) -> None:
        works = list(works)
        self.late = [] if len({work.before.node for work in works}) > 1 else None
        real(self, works)
        for key, units in self.late or ():
            self.pots[key] = self.pots[key].lent(units)

    def lend(self: Any, work: Any, units: int) -> None:
        if units:
            key = work.lease.pot
            work.lease = extend(work.lease, units)
            if self.late is None:
                self.pots[key] = self.pots[key].lent(units)
            else:
                self.late.append((key, units))

    return patch.multiple(LeaseRound, run=run, _lend=lend)


@mutation
def refused_nodes_are_served() -> AbstractContextManager[Any]:
    """An exchange of a fenced epoch, or of a number that was taken, is served with the others of its group."""
    real = NodeRows.renew

    async def renew(self: Any, renewals: Any, expected_version: int, now_us: int) -> Any:
        await real(self, renewals, expected_version, now_us)
        return frozenset(one.node for one in renewals)

    return patch.object(NodeRows, "renew", renew)
