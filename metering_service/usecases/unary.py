"""One report, one decision: for scripts and small servers."""

import asyncio

from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.errors import OverloadedError, StorageUnavailableError
from metering_service.domain.report import Phase, Report
from metering_service.usecases.lookups.service_choice import choose
from metering_service.usecases.node import Node
from metering_service.usecases.reports.process import malformed, process
from metering_service.usecases.state.waiter import Parked, PendingCommits

WAIT_MAX_S = 10
"""Timeout of a unary report that waits for its commit."""


class _Caller:
    """The caller that waits for the one decision. Its request stays open for the resume window only."""

    keeps_open = False

    def __init__(self, node: Node) -> None:
        self._node = node
        node.calls_count += 1
        self.look_ups = node.keys.calls
        self.look_ups_for_work = node.keys.calls_with_work
        self.is_answered = self.is_durable = False
        self.decision: Decision | None = None
        self.with_receipt: Decision | None = None
        self._news: asyncio.Event | None = None
        """Made only where the call waits: most authorisations do not."""

    def named(self, request_id: str, service: str) -> None:
        """The decision says so."""

    def answer(self, sequence: int, decision: Decision | None) -> None:  # noqa: ARG002  # Reporter's
        self.decision = decision
        self.is_answered = True
        self._notify()

    def recorded(self) -> None:
        """All that was reported is committed."""
        self._node.calls_count -= 1
        self.is_durable = True
        self._notify()

    def _notify(self) -> None:
        if self._news is not None:
            self._news.set()

    async def wait(self, *, durable: bool) -> None:
        """Until it is answered and, if that is asked, all that was reported is committed."""
        self._news = asyncio.Event()
        while not self.is_answered or (durable and not self.is_durable):
            await self._news.wait()
            self._news.clear()

    def order(self, decision: Decision) -> None:
        """Nobody is listening any more."""

    def receipt(self, sequence: int, decision: Decision) -> None:  # noqa: ARG002  # Reporter's
        self.with_receipt = decision


async def ask(node: Node, report: Report) -> Decision:
    """Decide on a report; PROGRESS and FINISH are answered after the commit.

    Raises StorageUnavailableError when that takes too long: whether it is recorded is not known then. Raises
    OverloadedError where too much waits already (an authorisation is denied then).
    """
    refused = malformed(report)
    if refused is not None:
        return refused
    if node.room.is_full or node.room.is_full_of(report.service) or node.is_full_of_calls:
        if report.phase is Phase.AUTHORIZE:
            # What it would use could not be reported.
            return deny(report.request_id, Reason.OVERLOADED)
        raise OverloadedError(
            "Too many reports wait at this node, so this one was not taken in: repeat it, here or elsewhere."
        )
    caller = _Caller(node)
    pending = PendingCommits(caller.recorded)
    pending.expect()
    try:
        answer = (process if report.service else choose)(node, report, caller, 0, pending)
        if not isinstance(answer, Parked):
            caller.answer(0, answer)
    finally:
        pending.done()
    if report.phase is not Phase.AUTHORIZE or not caller.is_answered:
        await _wait(caller, report)
    decision = caller.decision
    if caller.with_receipt is not None:
        if decision is None:
            return caller.with_receipt
        return decision._replace(receipt=caller.with_receipt.receipt)
    if decision is not None:
        return decision
    service = node.services.get(report.service)
    version = service.config.version if service is not None and service.config is not None else 0
    return Decision(report.request_id, config_version=version)


async def _wait(caller: _Caller, report: Report) -> None:
    try:
        async with asyncio.timeout(WAIT_MAX_S):
            await caller.wait(durable=report.phase in (Phase.PROGRESS, Phase.FINISH))
    except TimeoutError as error:
        raise StorageUnavailableError(
            "This report could not be recorded in time; repeat it: that changes nothing."
        ) from error
