"""Inference servers: they obey their grants, and know what they generated, said, and were told is durable."""

import asyncio
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import AioRpcError

from tallygate.metering.v1 import decision_pb2, metering_service_pb2
from tests.simulation import progress_rules, strays, whole_answers
from tests.simulation.columns import Columns, go_together
from tests.simulation.credentials import NOTHING_SHOWN, ServerToken
from tests.simulation.jobs import AUTHORIZE, FINISH, PHASES, PROGRESS, Job, Said
from tests.simulation.loop import Party
from tests.simulation.network import StreamCall

if TYPE_CHECKING:
    from tests.simulation.processes import MeteringProcess
    from tests.simulation.simulation_harness import World

HEARTBEAT_S = 1.0
SILENCE_MAX_S = 2.5
SILENT_ONE_IN = 20
LATE_ONE_IN = 4
"""Of so many requests one is heard to have got so far after its end."""
MOVE_S = 5.0
APART_LOOKS, APART_LOOK_S = 80, 0.1
ASK_AGAIN_S = (0.3, 4.0)
TIMED_OUT_S = 95.0
"""By then no part of a request that nobody spoke of is open, be it that one waited for another."""


@dataclass
class _Line:
    """One stream to one node."""

    process: "MeteringProcess"
    call: StreamCall
    columns: Columns
    sent: int = 0
    answered: int = 0
    durable: int = 0
    unacknowledged: deque[tuple[int, Job, int, Said]] = field(default_factory=deque)
    sent_at: deque[tuple[int, float]] = field(default_factory=deque)
    said_at: dict[int, float] = field(default_factory=dict)
    """When each report was sent that is not known to be answered."""
    valid_until_s: float = 0.0
    last_heard_s: float = 0.0


class InferenceServer:
    """One process with its requests, and a stream to some node."""

    def __init__(self, world: "World", number: int, token: ServerToken = NOTHING_SHOWN) -> None:
        self.world = world
        self.token = token
        self.party = Party(f"server{number}")
        self.luck = random.Random(f"{world.seed} columns {number}")
        self.jobs: dict[str, Job] = {}
        self.line: _Line | None = None
        self.draining = False
        world.loop.spawn(self.party, self._stay_connected())

    # --- requests ----------------------------------------------------------------------------------------------------

    def begin(self, job: Job) -> None:
        """A request of an end user."""
        self.jobs[job.request_id] = job
        self.world.loop.spawn(self.party, self._live(job))

    async def _live(self, job: Job) -> None:
        if job.asks:
            if not await self._ask_again(job):
                return
            # Not by chance: so the story of those before it stays as it is.
            if job.strays:
                await strays.end_elsewhere(self, job)
                return
            if job.whole:
                await whole_answers.live(self, job)
            elif job.number % SILENT_ONE_IN == 0:
                await self._fall_silent(job)
            else:
                await self._generate(job)
        else:
            job.output_tokens = job.target_tokens
        job.end()
        job.finished = True
        ends_apart = job.asks and await self._end_apart(job)
        # Who did not ask has no token but a wrong one.
        self._say(job, FINISH, resumed=ends_apart or not job.asks)
        # Both nodes book it at the same moment, or both revise what one booked when it had timed out.
        if (job.silent and not job.whole) or (not job.asks and self.world.chance.once_in(2)):
            await self._say_elsewhere(job, FINISH)
        if job.asks and not job.silent and job.number % LATE_ONE_IN == 0:
            await asyncio.sleep(MOVE_S)
            if not job.is_lost:
                await self._say_elsewhere(job, PROGRESS)

    async def _end_apart(self, job: Job) -> bool:
        """Whether it has ended by a stream of its own first, to the node that has its handle on another one.

        Then one more entry comes by that handle, once another request may have its place there.
        """
        line = self.line
        if line is None or not line.columns.ends_apart(job):
            return False
        before = self._running_at(line.process)
        await self._say_elsewhere(job, FINISH, line.process)
        for _ in range(APART_LOOKS):
            await asyncio.sleep(APART_LOOK_S)
            if self._running_at(line.process) - before:
                break
        if self.line is line:
            self.world.chance.note("progress by the handle of what has ended")
            self._say(job, PROGRESS)
        return True

    def _running_at(self, process: "MeteringProcess") -> set[Job]:
        """Requests that servers with a stream to a node run."""
        servers = [each for each in self.world.alive_servers if each.line is not None and each.line.process is process]
        return {job for server in servers for job in server.jobs.values() if job.begun and not job.finished}

    async def _say_elsewhere(self, job: Job, phase: int, process: "MeteringProcess | None" = None) -> None:
        """Its finish, or how far it had got, once more, to a node on a stream of its own: it took its time."""
        process = process or self.world.some_node()
        if process is None or process.servicer is None:
            return
        self.world.chance.note("finish said twice" if phase == FINISH else "progress after the finish")
        call = self.open_stream(process)
        self.world.note(f"{job.request_id} {PHASES[phase]} {job.said(phase).total} to {call.name}, too")
        # Progress that is on its way for so long was said after a reconnect.
        report = job.report(phase, resumed=phase == PROGRESS)
        request = metering_service_pb2.MeterRequest(first_sequence=1, reports=[report])
        with suppress(AioRpcError):
            await call.write(request)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        call.cancel()

    async def _ask_again(self, job: Job) -> bool:
        """Whether it may run: after a denial that may pass a client asks again; without an answer, under another id."""
        for attempt in range(job.patience):
            job.may_ask_again, job.unanswered = True, False
            if await self._ask(job):
                return True
            if not job.may_ask_again:
                return False
            await asyncio.sleep(self.world.chance.uniform(*ASK_AGAIN_S))
            job.denied = job.must_stop = False
            if job.unanswered:
                job.request_id = f"r{job.number}.{attempt}"
            self.jobs[job.request_id] = job
        return await self._ask(job)

    async def _ask(self, job: Job) -> bool:
        """Whether it may run."""
        if self.line is None:
            self.jobs.pop(job.request_id)
            job.denied = True
            return False
        self._say(job, AUTHORIZE)
        while not job.begun and not job.denied:
            await job.changed.wait()
            job.changed.clear()
        return job.begun

    async def _generate(self, job: Job) -> None:
        chance = self.world.chance
        patience = chance.integer(5, 40)
        target_tokens = job.target_tokens // 2 if job.manner.hangs_up else job.target_tokens
        while job.output_tokens < target_tokens:
            await asyncio.sleep(chance.uniform(0.02, 0.6))
            line = self.line
            valid = line is not None and self.world.loop.now_s < max(line.valid_until_s, job.valid_until_s)
            most = job.ceiling_tokens if valid and not job.must_stop else job.output_tokens
            if job.late and chance.once_in(4):
                most = max(most, job.output_tokens + chance.integer(1, 40))
            step = chance.integer(1, max(1, target_tokens // 8))
            job.output_tokens = max(job.output_tokens, min(job.output_tokens + step, target_tokens, most))
            if job.output_tokens >= target_tokens or job.must_stop:
                break
            if job.output_tokens >= most:
                patience -= 1
                if job.is_final or patience < 0:
                    break
            if 2 * job.output_tokens > job.ceiling_tokens or chance.once_in(3):
                self._say(job, PROGRESS)

    async def _fall_silent(self, job: Job) -> None:
        """Have it move to some node, and time out there, too; then it ends beyond what it was granted."""
        for job.silent in (False, True):
            if self.line is not None:
                self.line.call.break_off("the server connects anew")
            await asyncio.sleep(MOVE_S)
        await asyncio.sleep(TIMED_OUT_S)
        job.output_tokens = max(job.output_tokens, job.ceiling_tokens) + 5

    # --- the stream --------------------------------------------------------------------------------------------------

    def open_stream(self, process: "MeteringProcess") -> StreamCall:
        """A stream to a node that has a servicer."""
        return self.world.network.stream(self.party, process.server, process.meter, self.token.shown)

    async def _stay_connected(self) -> None:
        world, chance = self.world, self.world.chance
        while True:
            process = world.some_node()
            if process is not None and process.servicer is not None:
                call = self.open_stream(process)
                line = self.line = _Line(
                    process, call, Columns(self.luck, go_together(world.seed)), last_heard_s=world.loop.now_s
                )
                self._say_all_again()
                heart = asyncio.ensure_future(self._beat(line))
                try:
                    await self._listen(line)
                except AioRpcError as error:
                    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                        self.token.refused(call.bearer)
                except AssertionError as violation:
                    # Nobody looks at how this ends.
                    world.wrongs.append(str(violation))
                    raise
                finally:
                    heart.cancel()
                    call.cancel()
                    self.line = None
                    self._forget_the_unanswered()
            await asyncio.sleep(chance.uniform(0.01, 1.0))

    async def _beat(self, line: _Line) -> None:
        """Renews the grants, and notices a stream that has gone silent."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self.world.loop.now_s - line.last_heard_s > HEARTBEAT_S + SILENCE_MAX_S:
                line.call.cancel()
                return
            line.sent_at.append((line.sent, self.world.loop.now_s))
            line.call.to_server.send(metering_service_pb2.MeterRequest(first_sequence=line.sent + 1))

    def _say_all_again(self) -> None:
        for job in self.jobs.values():
            if job.finished and not job.durable:
                self._say(job, FINISH, resumed=True)
            elif job.begun and not job.finished and not job.silent:
                self._say(job, AUTHORIZE if job.whole else PROGRESS, resumed=True)

    def _say(self, job: Job, phase: int, *, resumed: bool = False) -> None:
        line = self.line
        if line is None:
            return
        first, answered = line.sent + 1, line.answered
        in_columns = None if resumed else line.columns.entries(job, phase, first, answered, self.jobs)
        if in_columns is None:
            entries = [(job, job.said(phase))]
            report = job.report(phase, resumed=resumed)
            line.columns.put_on(report, first)
            message = metering_service_pb2.MeterRequest(first_sequence=first, reports=[report])
        else:
            message, entries = in_columns
            self.world.chance.note("progress in columns")
        for its, said in entries:
            line.sent += 1
            line.said_at[line.sent] = self.world.loop.now_s
            line.unacknowledged.append((line.sent, its, phase, said))
            self.world.note(f"{its.request_id} {PHASES[phase]} {said.total} to {line.call.name}{' again' * resumed}")
        line.sent_at.append((line.sent, self.world.loop.now_s))
        line.call.to_server.send(message)

    def _forget_the_unanswered(self) -> None:
        """Whoever asked and got no answer asks somebody else, under another id, or gives up."""
        for job in list(self.jobs.values()):
            if job.asks and not job.begun and not job.finished:
                del self.jobs[job.request_id]
                job.denied = job.unanswered = True
                job.changed.set()

    async def _listen(self, line: _Line) -> None:
        while (message := await line.call.read()) is not grpc.aio.EOF:
            line.last_heard_s = self.world.loop.now_s
            self._take(line, message)

    def _take(self, line: _Line, message: Any) -> None:
        check = self.world.check
        check(line.answered <= message.answered_through <= line.sent, "answered_through goes back or too far")
        check(
            line.durable <= message.durable_through <= message.answered_through, "durable_through goes back or too far"
        )
        line.answered, line.durable = message.answered_through, message.durable_through
        while line.sent_at and line.sent_at[0][0] <= line.answered:
            _, sent_s = line.sent_at.popleft()
            valid_s = message.grants_valid_for.ToMilliseconds() / 1_000
            line.valid_until_s = max(line.valid_until_s, sent_s + valid_s) if valid_s else line.valid_until_s
        for raised, ceiling_tokens, token in line.columns.granted(message):
            self.world.note(f"{raised.request_id} hears up to {ceiling_tokens}")
            raised.ceiling_tokens, raised.token = max(raised.ceiling_tokens, ceiling_tokens), token
            raised.changed.set()
        for decision in message.decisions:
            job = self.jobs.get(decision.request_id)
            if job is not None:
                self._obey(job, decision)
                asked_s = line.said_at.get(decision.sequence)
                if decision.HasField("grant") and asked_s is not None:
                    job.valid_until_s = asked_s + decision.grant.valid_for.ToMilliseconds() / 1_000
        line.said_at = {sequence: sent_s for sequence, sent_s in line.said_at.items() if sequence > line.answered}
        while line.unacknowledged and line.unacknowledged[0][0] <= line.durable:
            _, job, phase, said = line.unacknowledged.popleft()
            job.take_durable(self.world, phase, said)
            progress_rules.check_on_record(self.world, job, phase, said)

    def _obey(self, job: Job, decision: decision_pb2.Decision) -> None:
        reason = decision_pb2.DecisionReason.Name(decision.reason)[len("DECISION_REASON_") :]
        answer = f"up to {decision.grant.output_ceiling_tokens}" if decision.HasField("grant") else reason
        self.world.note(f"{job.request_id} hears {answer}")
        if decision.HasField("grant"):
            if job.finished and not job.begun:
                return
            job.begun = True
            self.world.check(self.token.speaks_of(job.service), f"{job.request_id}: {self.party} was let in elsewhere")
            self.world.people.stopped.discard(job.service)
            job.ceiling_tokens = max(job.ceiling_tokens, decision.grant.output_ceiling_tokens)
            job.token = decision.grant.resume
            job.is_final = decision.grant.is_final
        elif decision.verdict == decision_pb2.VERDICT_DENY:
            self.world.denials[reason] += 1
            self.world.slot_returns.hear(decision)
            job.must_stop = True
            if job.asks and not job.begun and not job.finished:
                job.denied, job.may_ask_again = True, decision.retryable
                if not decision.retryable and decision.reason != decision_pb2.DECISION_REASON_CREDENTIAL_INVALID:
                    self.world.people.stopped.add(job.service)
                self.jobs.pop(job.request_id, None)
        job.changed.set()
