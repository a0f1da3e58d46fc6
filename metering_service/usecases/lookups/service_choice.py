"""The choice of a service by an API key and a model, for reports that name none; they wait until both are known."""

from dataclasses import dataclass
from typing import Final

from metering_service.domain.api_key import KeyProblem, KeyState
from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.key_resolution import ModelNeededError, chosen_service
from metering_service.domain.report import Phase, Report
from metering_service.usecases.keys.followed import Followed
from metering_service.usecases.keys.followed_key import FollowedKey
from metering_service.usecases.keys.followed_model import FollowedModel
from metering_service.usecases.node import Node
from metering_service.usecases.reports.key_check import look_up, refused, too_many_look_ups
from metering_service.usecases.reports.process import deadline_of, enter
from metering_service.usecases.state.waiter import PARKED, Outcome, Parked, PendingCommits, Reporter, Scope, Waiter

NEVER_NS: Final = 1 << 63
"""Deadline that is never reached."""
MODEL_MISSING: Final = "model is missing: this API key is for several, so say which one the request is for."
NOT_RECORDED: Final = "The API key leads to no service for this model, so nothing was recorded: name the service."


@dataclass(frozen=True, slots=True)
class Known:
    """A key and a model that control has spoken of; no model where the report has none."""

    key: FollowedKey
    model: FollowedModel | None


def choose(
    node: Node,
    report: Report,
    reporter: Reporter,
    sequence: int,
    pending: PendingCommits,
    *,
    scope: Scope | None = None,
) -> Outcome:
    """Decide on a report without a service that `malformed` has passed, as `process` does.

    `scope`: of what the reporter may speak; None for everything.
    """
    if report.phase is Phase.AUTHORIZE and not node.room.may_begin("", reporter):
        return deny(report.request_id, Reason.OVERLOADED)
    waiter = Waiter(
        report, reporter, sequence, pending, deadline_of(node, report), is_verified=not report.resume, scope=scope
    )
    chosen = _choose(node, waiter)
    if isinstance(chosen, str):
        return _enter(node, waiter, chosen)
    if isinstance(chosen, Parked):
        pending.expect()
        node.keys.choosing[waiter] = None
        node.room.enter("", reporter)
    return chosen


def go_on(node: Node, followed: Followed[bytes] | Followed[str]) -> None:
    """Control has spoken of a key or a model: decide on what waited for that, in order."""
    waiters, followed.waiters = followed.waiters, None
    for waiter in waiters or ():
        if waiter in node.keys.choosing:
            _choose_again(node, waiter)


def look_up_later(node: Node) -> None:
    """Ask control about keys and models of reports that had to wait for that."""
    for waiter in [waiter for waiter in node.keys.choosing if waiter.awaits_look_up]:
        _choose_again(node, waiter)


def _choose_again(node: Node, waiter: Waiter) -> None:
    chosen = _choose(node, waiter)
    if not isinstance(chosen, Parked):
        _leave(node, waiter)
        answer = _enter(node, waiter, chosen) if isinstance(chosen, str) else chosen
        _answer(waiter, answer)


def expire(node: Node) -> None:
    """Answer what has waited long enough."""
    now_ns = node.clock.monotonic_ns()
    for waiter in [waiter for waiter in node.keys.choosing if waiter.deadline_ns <= now_ns]:
        report = waiter.report
        may_come = node.control_answers and now_ns - waiter.deadline_ns < node.settings.answer_wait_max_ns
        if report.phase is Phase.FINISH or may_come:
            continue
        reason = Reason.OVERLOADED if waiter.awaits_look_up else Reason.CONTROL_UNREACHABLE
        denial = deny(report.request_id, reason)
        if report.phase is Phase.AUTHORIZE:
            _leave(node, waiter)
            _answer(waiter, denial)
        else:
            # Its counts are not taken in yet, so it is not durable, however long that takes.
            waiter.reporter.answer(waiter.sequence, denial)
            waiter.deadline_ns = NEVER_NS


def leave(node: Node, reporter: Reporter) -> None:
    """A reporter is gone: what it wanted to begin is not begun. What it finished waits on."""
    for waiter in [waiter for waiter in node.keys.choosing if waiter.reporter is reporter]:
        if waiter.report.phase is Phase.AUTHORIZE:
            _leave(node, waiter)


def _leave(node: Node, waiter: Waiter) -> None:
    """It waits no longer, or at its service."""
    del node.keys.choosing[waiter]
    node.room.leave("", waiter.reporter)


def _answer(waiter: Waiter, answer: Outcome) -> None:
    """Tell the reporter, unless the report waits on, at its service."""
    if not isinstance(answer, Parked):
        waiter.reporter.answer(waiter.sequence, answer)
    waiter.pending.done()


def _enter(node: Node, waiter: Waiter, service: str) -> Outcome:
    """Go on with the service that the key has led to."""
    waiter.report = waiter.report._replace(service=service)
    waiter.is_chosen = True
    waiter.reporter.named(waiter.report.request_id, service)
    return enter(node, waiter)


def _choose(node: Node, waiter: Waiter) -> str | Decision | Parked:
    """The service, or why there is none; PARKED until control has spoken of the key and of the model."""
    report = waiter.report
    found = _find(node, waiter)
    if not isinstance(found, Known):
        return found
    key, model = found.key, found.model
    assert key.key is not None
    state = key.state
    if state is KeyState.UNKNOWN or (state is not KeyState.VALID and report.phase is Phase.AUTHORIZE):
        return _nowhere(report, KeyProblem[state.name])
    try:
        service = chosen_service(key.key, model.model if model is not None else None)
    except ModelNeededError:
        return deny(report.request_id, Reason.INVALID_REPORT, message=MODEL_MISSING)
    if isinstance(service, KeyProblem):
        return _nowhere(report, service)
    if waiter.scope is not None:
        waiter.teams = waiter.scope(service)
        if waiter.teams is not None and not waiter.teams:
            return _nowhere(report, KeyProblem.OUTSIDE_METER)
    return service


def _nowhere(report: Report, problem: KeyProblem) -> Decision:
    """The refusal of a key that leads to no service; of a finish, that says that its counts were not taken."""
    if report.phase is Phase.FINISH:
        return deny(report.request_id, Reason.UNKNOWN_SERVICE, message=NOT_RECORDED)._replace(key_problem=problem)
    return refused(report, problem)


def _find(node: Node, waiter: Waiter) -> "Known | Decision | Parked":
    """The key and the model, once both are known. Control is asked about both at once."""
    report, keys = waiter.report, node.keys
    key = keys.find(report.key_sha256)
    model = keys.find_model(report.model) if report.model else None
    if key is None or (model is None and report.model):
        if not look_up(node, waiter, report.model):
            return too_many_look_ups(report) if report.phase is Phase.AUTHORIZE else PARKED
        key = keys.find(report.key_sha256)
        model = keys.find_model(report.model) if report.model else None
    assert key is not None
    waiter.awaits_look_up = False
    if key.key is None:
        key.await_by(waiter)
        return PARKED
    if model is not None and model.is_known is None:
        model.await_by(waiter)
        return PARKED
    return Known(key, model)
