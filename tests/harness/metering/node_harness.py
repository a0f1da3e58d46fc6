"""Metering nodes under test: the real rules, on a clock that a test moves, between a database and control in memory."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from metering_service.api.codec import decode_report
from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.decision import Decision
from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.pot import BUDGETS, LimitPotKey, PotKind
from metering_service.domain.records import CommitBatch
from metering_service.domain.report import Phase, Report
from metering_service.domain.request import Request
from metering_service.usecases.commits.checkpoints import Checkpoints
from metering_service.usecases.commits.pending_commit import PendingCommit
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.leases.config_intake import take_config
from metering_service.usecases.leases.key_intake import expire_keys, take_key, take_model
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.leases.limit_intake import forget_limits, take_limits
from metering_service.usecases.lookups.id_reuse import NewIds, name_of, take_first_bookings
from metering_service.usecases.lookups.parked import expire, found, unauthorised_committed
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.lookups.silent_requests import SilentRequests
from metering_service.usecases.meter_stream import MeterStream
from metering_service.usecases.node import Node
from metering_service.usecases.reports.finish import forget_finished
from metering_service.usecases.reports.timeouts import check_silent
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.stream_messages import Raised
from metering_service.usecases.upkeep.crash_recovery import CrashRecovery
from tallygate._server.clock import ManualClock
from tallygate.metering.v1.columns_pb2 import ProgressColumns
from tests.harness.metering.encoded_reports import encode_report
from tests.harness.metering.fake_control import VALID_FOR_NS, Control
from tests.harness.metering.immediate import now
from tests.harness.metering.memory_recorder import MemoryRecorder

SERVICE = "accounts/acme/services/chat"
BEAT_MS = 20
HEARTBEAT_NS = 2_000_000_000
LONG_BEAT_MS = 250
CHECKPOINT_BEATS = 4
EXCHANGES_PER_PUMP = 4


def secret_of(node: str, epoch: int) -> bytes:
    """A key that this epoch of a node makes."""
    return hashlib.sha256(f"{node}.{epoch}".encode()).digest()


class Rig:
    """One epoch of one node."""

    def __init__(self, name: str, control: Control, database: MemoryRecorder, settings: NodeSettings) -> None:
        self.control = control
        self.database = database
        self.linked = True
        """Whether it reaches the control service."""
        epoch = now(database.register_node(name))
        ids = itertools.count(1)
        self.keys = ResumeKeys(database, control.clock, lambda: secret_of(name, epoch))
        now(self.keys.read())
        self.buffer = WriteBuffer(clock=control.clock, node=name, epoch=epoch, settings=settings)
        self.checkpoints = Checkpoints(self.buffer)
        self.node = Node(
            name=name,
            epoch=epoch,
            clock=control.clock,
            new_id=lambda: f"lease-{name}-{epoch}-{next(ids)}",
            buffer=self.buffer,
            checkpoints=self.checkpoints,
            key_ring=self.keys.ring,
            settings=settings,
            work=self,
        )
        self.buffer.on_unauthorised = partial(unauthorised_committed, self.node)
        self.keeper = LeaseKeeper(self.node)
        self.recovery = CrashRecovery(self.node, database, self.keeper)
        now(self.recovery.find_left())
        self._told: dict[str, int] = {}
        self._told_limits = -1
        self._told_keys: dict[bytes, int] = {}
        self._told_models: dict[str, int] = {}
        self.hears_of_keys = True
        """Whether control answers what it is asked about keys and models."""
        self.key_questions: list[tuple[tuple[bytes, ...], tuple[str, ...]]] = []
        """What control was asked about at once: keys and models."""
        self._asked = False
        self._look_ups: list[tuple[ServiceState, str]] = []
        self._later: list[tuple[int, ServiceState, str]] = []
        self._silent = SilentRequests()
        self.new_ids = NewIds(settings.new_ids_max)
        self._gathering: PendingCommit | None = None
        self._unsent: CommitBatch | None = None
        self._commit_no = 0
        self._beats = 0

    # --- work -------------------------------------------------------------------------------------------------

    def subscribe(self, service: str) -> None:
        self._told[service] = -1

    def unsubscribe(self, service: str) -> None:
        self._told.pop(service, None)

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        self.key_questions.append((tuple(keys), tuple(models)))
        self._told_keys.update(dict.fromkeys(keys, -1))
        self._told_models.update(dict.fromkeys(models, -1))

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        for key in keys:
            del self._told_keys[key]
        for model in models:
            del self._told_models[model]

    def exchange(self) -> None:
        self._asked = True

    def query_request(self, service: ServiceState, request_id: str) -> None:
        self._look_ups.append((service, request_id))

    def query_request_later(self, service: ServiceState, request_id: str, delay_ns: int) -> None:
        self._later.append((self.node.clock.monotonic_ns() + delay_ns, service, request_id))

    def query_reuse(self, service: ServiceState, request: Request) -> None:
        self.new_ids.add(service, request)

    def query_successor(self, service: ServiceState, request: Request) -> None:
        self._silent.add(service, request)

    @property
    def followed_keys(self) -> set[bytes | str]:
        """Keys and models of which control tells this node."""
        return {*self._told_keys, *self._told_models}

    # --- the loops around a node, one step at a time ---------------------------------------------------------------

    @property
    def online(self) -> bool:
        return self.linked and self.control.reachable

    def hear_control(self) -> bool:
        """Take in configuration that is new; whether there was any."""
        if not self.online:
            return False
        self.keeper.closed_below_epoch = self.control.closed_below_epoch.get(self.node.name, 0)
        limits = self.control.limits
        if not (self._told or any(self.control.key_of(key).name for key in self._told_keys)):
            self._told_limits = -1
        elif limits.version > self._told_limits:
            self._told_limits = limits.version
            take_limits(self.node, limits)
        news = [name for name, version in self._told.items() if self.control.config(name).version > version]
        for name in news:
            config = self.control.config(name)
            self._told[name] = config.version
            take_config(self.node, config)
        recalled = self.control.recalls.pop(self.node.name, [])
        if recalled:
            self.keeper.recall(recalled)
            self._asked = True
        return self._hear_of_keys() or bool(news or recalled)

    def _hear_of_keys(self) -> bool:
        if not self.hears_of_keys:
            return False
        models = [text for text, version in self._told_models.items() if self.control.model_of(text).version > version]
        for text in models:
            meaning = self.control.model_of(text)
            self._told_models[text] = meaning.version
            take_model(self.node, meaning)
        keys = [key for key, version in self._told_keys.items() if self.control.key_of(key).version > version]
        for sha256 in keys:
            key = self.control.key_of(sha256)
            self._told_keys[sha256] = key.version
            take_key(self.node, key)
        return bool(models or keys)

    def exchange_leases(self) -> None:
        """One exchange, if control is there."""
        self._asked = False
        self.node.control_answers = self.online
        if self.online:
            asked_ns = self.node.clock.monotonic_ns()
            said = self.keeper.statements()
            self.control.settled(self.node.name, self.keeper.settled_below_epoch)
            answers = self.control.exchange(self.node.name, self.node.epoch, said)
            self.keeper.answered(said, answers, asked_ns, VALID_FOR_NS)

    def look(self) -> None:
        """Carry out what was to be looked for in the database, if it is there."""
        if self.database.down:
            return
        look_ups, self._look_ups = self._look_ups, []
        for service, request_id in look_ups:
            parts = now(self.database.find_request(service.uid, request_id))
            now(self.keys.read_again())
            found(self.node, service, {request_id: parts})
        asked = self.new_ids.take()
        names = [name_of(request) for _, request in asked]
        take_first_bookings(self.node, asked, now(self.database.first_booked_us(names)))
        silent = self._silent.take()
        if silent:
            self._silent.found(self.node, silent, now(self.database.find_requests(list(silent))))

    def commit(self, *, checkpoints: bool = True) -> bool:
        """A group commit, and another for what follows from it; whether all that had gathered is in the database."""
        if self._unsent is None:
            for _ in self.checkpoints.sweep(begins=checkpoints):
                pass
            self._gathering = self.buffer.begin_commit()
            if self._gathering is not None:
                self._unsent = self._gathering.batch(self._commit_no + 1)
            elif self.buffer.now_ns() - (self.buffer.alone_ns or 0) >= HEARTBEAT_NS:
                self._unsent = CommitBatch(self._commit_no + 1)
            else:
                return True
        try:
            kept = now(self.database.commit(self.node.name, self.node.epoch, self._unsent))
        except StorageUnavailableError:
            return False
        self._commit_no, self._unsent = self._unsent.commit_no, None
        self.buffer.alone_ns = self.buffer.now_ns()
        if self._gathering is not None:
            self.buffer.end_commit(kept)
            if self._gathering.unauthorised and not self._look_ups:
                return self.commit(checkpoints=checkpoints)
        if self._look_ups and not self.database.down:
            self.look()
            return self.commit(checkpoints=checkpoints)
        return True

    def pump(self) -> None:
        """Let everything happen that needs no time and no commit; some exchanges, if they are asked for on and on."""
        exchanges = EXCHANGES_PER_PUMP
        for _ in range(100):
            news = self.hear_control()
            asked = self._asked and self.online and exchanges > 0
            if asked:
                exchanges -= 1
                self.exchange_leases()
            rechecked = bool(self._look_ups or self._silent) and not self.database.down
            if rechecked:
                self.look()
            if not (news or asked or rechecked):
                return
        raise AssertionError("it never comes to rest")

    def beat(self) -> None:
        """What happens within some milliseconds."""
        self._beats += 1
        now_ns = self.node.clock.monotonic_ns()
        self._look_ups += [(service, request_id) for due_ns, service, request_id in self._later if due_ns <= now_ns]
        self._later = [later for later in self._later if later[0] > now_ns]
        self.pump()
        expire(self.node)
        expire_keys(self.node)
        self.node.keys.forget_idle()
        forget_limits(self.node)
        check_silent(self.node)
        forget_finished(self.node)
        now(self.recovery.book_left())
        self.look()
        self.exchange_leases()
        self.pump()
        self.commit(checkpoints=self._beats % CHECKPOINT_BEATS == 0)

    def shut_down(self) -> None:
        """Leave cleanly, all streams having ended."""
        self.commit()
        self.keeper.close_all()
        for _ in range(3):
            self.exchange_leases()
            self.commit()


class Fleet:
    """Nodes over one database and one control service."""

    def __init__(
        self, *names: str, settings: NodeSettings | None = None, database: MemoryRecorder | None = None
    ) -> None:
        self.clock = ManualClock(monotonic_ns=1_000_000_000)
        self.control = Control(self.clock)
        self.database = database if database is not None else MemoryRecorder()
        self.settings = settings if settings is not None else NodeSettings()
        self.rigs: dict[str, Rig] = {}
        for name in names or ("a",):
            self.start(name)

    def __getitem__(self, name: str) -> Rig:
        return self.rigs[name]

    def start(self, name: str) -> Rig:
        """Start a node, or start it again after `crash`."""
        rig = self.rigs[name] = Rig(name, self.control, self.database, self.settings)
        rig.exchange_leases()
        return rig

    def crash(self, name: str) -> None:
        """A node is gone, with everything it had in memory."""
        del self.rigs[name]

    def run(self, *, ms: int = 0, seconds: int = 0) -> None:
        """Let time pass, and the nodes do their work: seconds in longer steps than milliseconds."""
        for step_ms in [LONG_BEAT_MS] * (seconds * 1_000 // LONG_BEAT_MS) + [BEAT_MS] * (ms // BEAT_MS):
            self.clock.advance(us=step_ms * 1_000)
            self.control.sweep()
            for uid in self.control.replenished:
                for rig in self.rigs.values():
                    if rig.online:
                        rig.keeper.replenish([uid])
            self.control.replenished.clear()
            pots = [
                (f"accounts/{pot.account_id}", LimitPotKey(kind, *pot[1:]))
                for pot in self.control.replenished_limit_pots
                for kind in (*BUDGETS, PotKind.RATE, PotKind.SLOTS)
            ]
            self.control.replenished_limit_pots.clear()
            for rig in self.rigs.values():
                if pots and rig.online:
                    rig.keeper.replenish_pots(pots)
            for rig in self.rigs.values():
                rig.beat()


class Client:
    """An inference server's stream to one node."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.session = MeterStream(rig.node, lambda: None)
        self.sequence = 0
        self.answered = 0
        self.durable = 0
        self.valid_for_ms = 0
        self.decisions: list[tuple[int | None, Decision]] = []
        self.grants: list[Raised] = []

    def send(self, *reports: Report) -> None:
        """One message; nothing happens in between."""
        self.send_columns({}, *reports)

    def send_columns(
        self, output_tokens: Mapping[int, int], *reports: Report, reasoning_tokens: Sequence[int] = ()
    ) -> None:
        """One message: output by handle, then reports; nothing happens in between."""
        output = list(output_tokens.values())
        columns = ProgressColumns(handles=output_tokens, output_tokens=output, reasoning_tokens=reasoning_tokens)
        encoded = [encode_report(report) for report in reports]
        for _ in self.session.take(self.sequence + 1, encoded, decode_report, columns):
            self.hear()  # Others have a turn.
        self.sequence += len(output_tokens) + len(reports)
        self.hear()

    def hear(self) -> None:
        """What the node says now. Watermarks never go back, and never are beyond what is answered."""
        out = self.session.drain()
        if out is not None:
            assert self.answered <= out.answered_through <= self.session._last_sequence
            assert self.durable <= out.durable_through <= out.answered_through
            self.answered, self.durable = out.answered_through, out.durable_through
            self.valid_for_ms = out.grants_valid_for_ms
            self.decisions += out.decisions
            self.grants += out.grants

    def say(self, report: Report) -> Decision | None:
        """One report; the decision on it, if there is one at once. None may mean: it waits."""
        self.send(report)
        self.rig.pump()
        return self.said(self.sequence)

    def said(self, sequence: int | None) -> Decision | None:
        """The last decision on that report; None stands for the unasked ones."""
        self.hear()
        return next((decision for number, decision in reversed(self.decisions) if number == sequence), None)

    def close(self) -> None:
        """The stream breaks."""
        self.session.close()


def report(
    phase: Phase, request_id: str = "r1", counts: Counts = ZERO, *, service: str = SERVICE, **more: Any
) -> Report:
    return Report(request_id, service, phase, counts, **more)
