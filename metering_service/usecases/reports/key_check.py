"""Whether the API key that a report came with lets its request in, and what is recorded of the key."""

from typing import Final

from metering_service.domain.api_key import KeyProblem, KeyState
from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.key_resolution import key_problem, scope_problem
from metering_service.domain.report import Phase, Report
from metering_service.domain.request import Request
from metering_service.domain.service import ServiceConfig
from metering_service.usecases.keys.followed_key import FollowedKey
from metering_service.usecases.keys.keys import Unfollowed
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cutting import cut
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Parked, Waiter

LOOK_UP_RETRY_MS: Final = 100
"""Delay after which a look-up that was one too many may be tried again: those of real keys are given back at once."""
ANOTHER_KEY: Final = "credential is another one than that by which this request was authorised."


def refused(report: Report, problem: KeyProblem, config_version: int = 0) -> Decision:
    """The one refusal of every key that opens nothing, whatever the reason; that stays in the node."""
    return deny(report.request_id, Reason.CREDENTIAL_INVALID, config_version=config_version)._replace(
        key_problem=problem
    )


def too_many_look_ups(report: Report) -> Decision:
    """The refusal of a key or model that cannot be looked up now."""
    return deny(report.request_id, Reason.OVERLOADED, retry_after_ms=LOOK_UP_RETRY_MS)


def look_up(node: Node, waiter: Waiter, model: str) -> bool:
    """Ask control about a report's key, and a model; False where its reporter has had too many looked up for now."""
    report, reporter = waiter.report, waiter.reporter
    rate = reporter.look_ups if report.phase is Phase.AUTHORIZE else reporter.look_ups_for_work
    is_asked = node.keys.look_up(report.key_sha256, model, rate)
    waiter.awaits_look_up = not is_asked
    return is_asked


def let_in(node: Node, service: ServiceState, config: ServiceConfig, waiter: Waiter) -> Decision | Parked | None:
    """Check the key of a request that is to begin. None: it may, as far as the key goes; the report then names that."""
    report = waiter.report
    if not report.key_sha256:
        return refused(report, KeyProblem.ABSENT, config.version) if config.requires_key else None
    found = _find(node, service, waiter)
    if not isinstance(found, FollowedKey):
        return found
    if found.state is KeyState.UNKNOWN and not config.requires_key and not waiter.is_chosen:
        return _unless_begun_by_another(waiter, config, "")
    key = found.key
    assert key is not None
    problem = key_problem(key, found.state, config, report.source_address)
    if problem is not None:
        return refused(report, problem, 0 if waiter.is_chosen else config.version)
    another = _unless_begun_by_another(waiter, config, key.uid)
    if another is not None:
        return another
    waiter.report = report._replace(credential=key.uid, key_team=key.team)
    return None


def _unless_begun_by_another(waiter: Waiter, config: ServiceConfig, key_uid: str) -> Decision | None:
    """The refusal of a key by which a request shall go on that began with another one, or with none."""
    if waiter.start is None or waiter.start.stamp.credential == key_uid:
        return None
    return deny(waiter.report.request_id, Reason.INVALID_REPORT, message=ANOTHER_KEY, config_version=config.version)


def let_on(
    node: Node, service: ServiceState, config: ServiceConfig, request: Request, waiter: Waiter
) -> Decision | Parked | None:
    """Check the key of an authorisation that is repeated: it is the one that the request began with."""
    report = waiter.report
    if report.key_sha256:
        found = _find(node, service, waiter)
        if not isinstance(found, FollowedKey):
            return found
        if found.key is None or found.key.uid != request.stamp.credential:
            return deny(report.request_id, Reason.INVALID_REPORT, message=ANOTHER_KEY, config_version=config.version)
    problem = ended(node, config, request)
    return cut(node, request, refused(report, problem, config.version)) if problem is not None else None


def note_unauthorised(node: Node, service: ServiceState, config: ServiceConfig, waiter: Waiter) -> Parked | None:
    """Find out with which key to record work that nobody authorised, be it an old one; and whether it may go on."""
    report = waiter.report
    if not report.key_sha256:
        waiter.key_problem = KeyProblem.ABSENT if config.requires_key else None
        return None
    is_late = report.phase is Phase.FINISH and node.clock.monotonic_ns() >= waiter.deadline_ns
    found = _find(node, service, waiter)
    if isinstance(found, Parked) and not is_late:
        return found
    if not isinstance(found, FollowedKey) or found.key is None or found.state is KeyState.UNKNOWN:
        # Work is on record in time, if need be without its key.
        waiter.key_problem = KeyProblem.UNKNOWN if config.requires_key else None
        return None
    key = found.key
    waiter.key_problem = key_problem(key, found.state, config, None)
    if key.is_of_account_of(config.name):
        waiter.report = report._replace(credential=key.uid, key_team=key.team)
    return None


def with_known_key(node: Node, service: ServiceState, report: Report) -> Report:
    """A report that is refused for another reason, with its key as far as this node knows it already."""
    found = node.keys.find(report.key_sha256) if report.key_sha256 else None
    if found is None or found.key is None or not found.key.is_of_account_of(service.name):
        return report
    return report._replace(credential=found.key.uid, key_team=found.key.team)


def follow(node: Node, request: Request, waiter: Waiter) -> None:
    """Have a request stopped when its key ends, that a report on it came with; if that is not known yet, once it is.

    What began without a key ends by none.
    """
    if waiter.report.key_sha256 and request.stamp.credential:
        _follow(node, request, Unfollowed(waiter.report.key_sha256, waiter.reporter.look_ups_for_work))


def follow_later(node: Node) -> None:
    """As `follow`, for requests whose key could not be looked up at once."""
    for request, unfollowed in list(node.keys.unfollowed.items()):
        _follow(node, request, unfollowed)


def _follow(node: Node, request: Request, unfollowed: Unfollowed) -> None:
    if not node.keys.look_up(unfollowed.key_sha256, "", unfollowed.rate):
        node.keys.unfollowed[request] = unfollowed
        return
    node.keys.unfollowed.pop(request, None)
    key = node.keys.find(unfollowed.key_sha256)
    assert key is not None
    if key.key is None or key.let_in(request):
        node.keys.began(request, key)


def ended(node: Node, config: ServiceConfig, request: Request) -> KeyProblem | None:
    """Why a running request may not go on because of its key; None where it may."""
    found = node.keys.key_of(request) if node.keys.of_request else None
    if found is None:
        is_missed = config.requires_key and not (request.authorised or request.stamp.credential)
        return KeyProblem.ABSENT if is_missed else None
    key = found.key
    if key is None:
        return None
    return scope_problem(key, config) if found.state is KeyState.VALID else key_problem(key, found.state, config, None)


def _find(node: Node, service: ServiceState, waiter: Waiter) -> FollowedKey | Decision | Parked:
    """The key of a report, once control has answered; until then the report waits."""
    report = waiter.report
    found = node.keys.find(report.key_sha256)
    if found is not None and found.key is not None:
        waiter.awaits_key = waiter.awaits_look_up = False
        return found
    if found is None and not look_up(node, waiter, ""):
        if report.phase is Phase.AUTHORIZE:
            return too_many_look_ups(report)
        waiter.awaits_key = True
        return PARKED
    found = node.keys.find(report.key_sha256)
    assert found is not None
    waiter.awaits_look_up = False
    found.await_on(service)
    waiter.awaits_key = True
    return PARKED
