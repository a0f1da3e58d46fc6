"""Requests to UsageService, checked: every problem of a request is reported at once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from metering_service.domain.errors import InvalidRequestError
from metering_service.domain.report import LABELS_MAX, REQUEST_ID_BYTES_MAX
from metering_service.domain.usage_scope import UsageScope
from metering_service.usecases.ports import Settled, UsageQuery
from tallygate._access.rights import Sight
from tallygate._server.grpc.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, decode_page_token
from tallygate._wire.names import ACCOUNT_ID, SERVICE_ID, TEAM_ID
from tallygate._wire.times import decode_ns, is_normal
from tallygate.metering.v1 import usage_service_pb2 as pb

STEPS_MAX: Final = 10_000
SERVICES_MAX: Final = 100
GROUPS_MAX: Final = 8
TEAMS_MAX: Final = 100

_ACCOUNT: Final = f"accounts/{ACCOUNT_ID}"
_SERVICE: Final = re.compile(f"{_ACCOUNT}/services/{SERVICE_ID}")
_SERVICE_OR_ACCOUNT: Final = re.compile(rf"{_SERVICE.pattern}|{_ACCOUNT}")
_GROUP: Final = re.compile(r"service|service_uid|model|team|key_team|credential|label:[^\0]{1,64}", re.DOTALL)

_TEAM: Final = re.compile(f"(?:{TEAM_ID})?")

_MINUTE_NS: Final = 60_000_000_000
_NS_PER_US: Final = 1_000
_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799

Violation = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a service's records, after a given record."""

    service: str
    after: tuple[str, str] | None
    """Id and part of the last record before it; None for the first page."""
    size: int
    settled: Settled


def decode_usage_query(request: pb.QueryUsageRequest, sight: Sight) -> UsageQuery:
    """The query, its range rounded to whole minutes, narrowed to what the caller sees. Raises InvalidRequestError."""
    _refuse([*_range_violations(request), *_filter_violations(request), *_team_and_group_violations(request)])
    start_ns, end_ns = decode_ns(request.start_time), decode_ns(request.end_time)
    return UsageQuery(
        start_us=start_ns // _MINUTE_NS * _MINUTE_NS // _NS_PER_US,
        end_us=-(-end_ns // _MINUTE_NS) * _MINUTE_NS // _NS_PER_US,
        step_us=decode_ns(request.step) // _NS_PER_US if request.HasField("step") else None,
        services=tuple(dict.fromkeys(request.services)),
        credential=request.credential if request.HasField("credential") else None,
        labels=tuple(sorted(request.labels.items())),
        group_by=tuple(dict.fromkeys(request.group_by)),
        scope=UsageScope(sight, frozenset(request.teams) if request.teams else None),
    )


def decode_request_key(request: pb.GetRequestUsageRequest) -> tuple[str, str]:
    """The service's name and the request's id. Raises InvalidRequestError."""
    _refuse([*_service_violations(request.service), *_request_id_violations(request.request_id)])
    return request.service, request.request_id


def decode_explained(request: pb.ExplainRequestRequest) -> tuple[str, str]:
    """The account's name and the request's id. Raises InvalidRequestError."""
    violations = list(_request_id_violations(request.request_id))
    if not re.fullmatch(_ACCOUNT, request.account):
        violations.append(("account", "must be accounts/{account}"))
    _refuse(violations)
    return request.account, request.request_id


def decode_page(request: pb.ListRequestUsageRequest) -> Page:
    """The page that is asked for. Raises InvalidRequestError."""
    violations = list(_service_violations(request.service))
    after = decode_page_token(request, ("", ""))
    if after is None:
        violations.append(("page_token", "is not from a page of this service: take next_page_token as it came"))
    if request.page_size < 0:
        violations.append(("page_size", "must not be negative"))
    start, end = (
        getattr(request, name) if request.HasField(name) else None for name in ("settle_start_time", "settle_end_time")
    )
    named = {"settle_start_time": start, "settle_end_time": end}
    violations += [(name, problem) for name, time in named.items() if time and (problem := _time_problem(time))]
    _refuse(violations)
    return Page(
        request.service,
        after if request.page_token else None,
        min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
        Settled(_moment_us(start), _moment_us(end)),
    )


def _moment_us(time: Timestamp | None) -> int | None:
    return None if time is None else decode_ns(time) // _NS_PER_US


def _refuse(violations: list[Violation]) -> None:
    if violations:
        raise InvalidRequestError(*violations)


def _range_violations(request: pb.QueryUsageRequest) -> Iterable[Violation]:
    given = {
        "start_time": request.start_time if request.HasField("start_time") else None,
        "end_time": request.end_time if request.HasField("end_time") else None,
    }
    wrong = {field: _time_problem(time) for field, time in given.items()}
    if any(wrong.values()):
        yield from ((field, problem) for field, problem in wrong.items() if problem)
        return
    start_ns, end_ns = decode_ns(request.start_time), decode_ns(request.end_time)
    if end_ns <= start_ns:
        yield "end_time", "must be after start_time"
    if not request.HasField("step"):
        return
    step_ns = decode_ns(request.step)
    if step_ns <= 0 or step_ns % _MINUTE_NS:
        yield "step", "must be one or more whole minutes"
    elif _steps(start_ns, end_ns, step_ns) > STEPS_MAX:
        yield "step", f"gives more than {STEPS_MAX:,} steps: take longer ones or a shorter range"


def _steps(start_ns: int, end_ns: int, step_ns: int) -> int:
    """Steps in the range once it is rounded to minutes."""
    minutes = -(-end_ns // _MINUTE_NS) - start_ns // _MINUTE_NS
    return -(-minutes // (step_ns // _MINUTE_NS))


def _filter_violations(request: pb.QueryUsageRequest) -> Iterable[Violation]:
    if not 1 <= len(request.services) <= SERVICES_MAX:
        yield "services", f"must be 1 to {SERVICES_MAX}"
    for index, name in enumerate(request.services):
        if not _SERVICE_OR_ACCOUNT.fullmatch(name):
            yield f"services[{index}]", "must be accounts/{account}/services/{service} or accounts/{account}"
    if "\0" in request.credential:
        yield "credential", "must not have a zero byte"
    if len(request.labels) > LABELS_MAX:
        yield "labels", f"must be at most {LABELS_MAX}"
    if any("\0" in text for label in request.labels.items() for text in label):
        yield "labels", "must not have a zero byte"


def _team_and_group_violations(request: pb.QueryUsageRequest) -> Iterable[Violation]:
    if len(request.teams) > TEAMS_MAX:
        yield "teams", f"must be at most {TEAMS_MAX}"
    for index, team_id in enumerate(request.teams):
        if not _TEAM.fullmatch(team_id):
            yield f"teams[{index}]", "must be the id of a team, or empty for what no team used"
    if len(request.group_by) > GROUPS_MAX:
        yield "group_by", f"must be at most {GROUPS_MAX}"
    for index, group in enumerate(request.group_by):
        if not _GROUP.fullmatch(group):
            yield (
                f"group_by[{index}]",
                "must be service, service_uid, model, team, key_team, credential or label:{key}, a key of at most 64",
            )


def _request_id_violations(request_id: str) -> Iterable[Violation]:
    if not 1 <= len(request_id.encode()) <= REQUEST_ID_BYTES_MAX or "\0" in request_id:
        yield "request_id", f"must be 1 to {REQUEST_ID_BYTES_MAX} bytes, without a zero byte"


def _service_violations(name: str) -> Iterable[Violation]:
    if not _SERVICE.fullmatch(name):
        yield "service", "must be accounts/{account}/services/{service}"


def _time_problem(time: Timestamp | None) -> str:
    if time is None:
        return "is required"
    in_range = _SECONDS_MIN <= time.seconds <= _SECONDS_MAX and is_normal(time)
    return "" if in_range else "is not a time between the years 1 and 9999"
