"""Groups of lease exchanges: what came while one group was served is the next one, in one transaction.

An exchange alone in a transaction pays for all that the transaction costs; many together share it. A group has one
exchange of a node and one statement of a lease, so that no exchange meets another one of its own node.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from control_service.domain.errors import ControlError, StorageUnavailableError
from control_service.usecases.fleet.exchange_messages import ExchangeRequest, LeaseAnswer
from tallygate._server.clock import Clock
from tallygate._server.metrics.histogram import Histogram

GROUP_EXCHANGES_MAX: Final = 64
"""Maximum number of exchanges in a group."""

GROUP_STATEMENTS_MAX: Final = 500
"""Maximum number of statements in a group; an exchange with more is served alone."""

ALONE_NS: Final = 10_000_000_000
"""Time for which the exchanges of a node whose exchange failed are served alone."""

Served: TypeAlias = Sequence[list[LeaseAnswer] | ControlError]
"""The answers to a group's exchanges, or why an exchange was refused, in the order of the group."""

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Waiting:
    """An exchange whose caller waits."""

    request: ExchangeRequest
    answers: asyncio.Future[list[LeaseAnswer]]

    def take(self, served: list[LeaseAnswer] | ControlError) -> None:
        """Hands over what came of the exchange, unless its caller has gone."""
        if self.answers.done():
            return
        if isinstance(served, ControlError):
            self.answers.set_exception(served)
        else:
            self.answers.set_result(served)

    def fail(self, error: BaseException) -> None:
        """Hands over an error that is no refusal."""
        if not self.answers.done():
            self.answers.set_exception(error)


class ExchangeGroups:
    """The exchanges that wait, and the one task that serves them.

    Args:
        clock: for the time that a node stays alone.
        serve: serves a group in one transaction; raises where the transaction failed, and then nothing has happened.
        serve_apart: serves an exchange that failed by itself, as far as it can be served.
    """

    def __init__(
        self,
        clock: Clock,
        serve: Callable[[Sequence[ExchangeRequest]], Awaitable[Served]],
        serve_apart: Callable[[ExchangeRequest], Awaitable[list[LeaseAnswer]]],
    ) -> None:
        self._clock = clock
        self._serve = serve
        self._serve_apart = serve_apart
        self._waiting: list[_Waiting] = []
        self._alone_until_ns: dict[str, int] = {}
        self._was_alone = False
        self._task: asyncio.Task[None] | None = None
        self.sizes: Counter[int] = Counter()
        """Number of transactions that were begun, by the number of exchanges in them."""
        self.durations = Histogram()
        """Of transactions, those that failed included."""
        self.statement_count = 0
        """Statements in them."""

    async def exchange(self, request: ExchangeRequest) -> list[LeaseAnswer]:
        """Serves an exchange with others.

        A caller that is cancelled takes nobody along: an exchange that is being served is served, one that is not is
        dropped.

        Raises:
            ControlError: the exchange was refused.
            StorageUnavailableError: the database fails.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            # In a context of its own: what is logged there is about no single call.
            self._task = asyncio.create_task(self._serve_all(), context=Context())
        return await waiting.answers

    @property
    def waiting_count(self) -> int:
        """Number of exchanges that no transaction has taken yet."""
        return len(self._waiting)

    async def run(self) -> None:
        """Waits until cancelled; then ends the group that is being served, before the database is closed."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _serve_all(self) -> None:
        try:
            while group := self._next_group():
                await self._serve_group(group)
        finally:
            self._task = None

    def _next_group(self) -> list[_Waiting]:
        """Takes the next group out of those that wait: one that must be alone at most every second time."""
        now_ns = self._clock.monotonic_ns()
        self._alone_until_ns = {node: until for node, until in self._alone_until_ns.items() if until > now_ns}
        self._waiting = [one for one in self._waiting if not one.answers.done()]
        alone = self._first_alone()
        group = [] if alone is not None and not self._was_alone else self._fitting()
        if not group and alone is not None:
            group = [alone]
        self._was_alone = group == [alone]
        taken = set(group)
        self._waiting = [one for one in self._waiting if one not in taken]
        return group

    def _first_alone(self) -> _Waiting | None:
        """The first that must be alone, and whose node has none before it."""
        nodes: set[str] = set()
        for one in self._waiting:
            if one.request.node not in nodes and self._must_be_alone(one.request):
                return one
            nodes.add(one.request.node)
        return None

    def _fitting(self) -> list[_Waiting]:
        """Those that fit into one group, in order of arrival. Exchanges of one node keep their order."""
        group: list[_Waiting] = []
        nodes: set[str] = set()
        lease_ids: set[str] = set()
        for one in self._waiting:
            request = one.request
            stated_ids = {stated.statement.lease_id for stated in request.statements}
            fits = (
                request.node not in nodes
                and not self._must_be_alone(request)
                and len(lease_ids) + len(stated_ids) <= GROUP_STATEMENTS_MAX
                and lease_ids.isdisjoint(stated_ids)
            )
            nodes.add(request.node)
            if fits:
                group.append(one)
                lease_ids |= stated_ids
                if len(group) == GROUP_EXCHANGES_MAX:
                    break
        return group

    def _must_be_alone(self, request: ExchangeRequest) -> bool:
        return len(request.statements) > GROUP_STATEMENTS_MAX or request.node in self._alone_until_ns

    async def _serve_group(self, group: Sequence[_Waiting]) -> None:
        """Serves a group; where that fails, each half by itself, down to the exchanges that fail alone."""
        self.sizes[len(group)] += 1
        self.statement_count += sum(len(one.request.statements) for one in group)
        began_ns = self._clock.monotonic_ns()
        try:
            served = await self._serve([one.request for one in group])
        except StorageUnavailableError as error:
            for one in group:
                one.fail(error)
        except asyncio.CancelledError:
            for one in group:
                one.answers.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # whose fault it is shows when they are served by themselves
            await self._serve_parts(group, error)
        else:
            for one, answers in zip(group, served, strict=True):
                one.take(answers)
        finally:
            self.durations.observe(self._clock.monotonic_ns() - began_ns)

    async def _serve_parts(self, group: Sequence[_Waiting], error: Exception) -> None:
        if len(group) > 1:
            _log.warning("exchanges_halved", count=len(group), problem=repr(error))
            middle = len(group) // 2
            await self._serve_group(group[:middle])
            await self._serve_group(group[middle:])
            return
        (alone,) = group
        self._alone_until_ns[alone.request.node] = self._clock.monotonic_ns() + ALONE_NS
        if isinstance(error, ControlError):
            alone.fail(error)
            return
        try:
            alone.take(await self._serve_apart(alone.request))
        except asyncio.CancelledError:
            alone.answers.cancel()
            raise
        except Exception as apart_error:  # noqa: BLE001  # it is its caller's to hear
            alone.fail(apart_error)
