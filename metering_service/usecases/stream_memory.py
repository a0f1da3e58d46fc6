"""What one stream has said of its requests that later reports may leave out: services, tokens, keys."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from metering_service.domain.report import Report
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.stream_messages import AUTHORIZE, WireReport

NAMES_MAX = 65_536
"""Maximum of requests whose service one stream remembers, beside those that run: later reports need not name it."""

RESUME_TOKENS_MAX: Final = 16_384
"""Maximum of resume tokens that one stream keeps, of requests that this node does not know yet."""

SHOWN_MAX: Final = 16_384
"""Maximum of requests whose API key one stream keeps until their service is known."""


class ShownKey(NamedTuple):
    """What a report showed by which its service is found."""

    key_sha256: bytes
    model: str
    source_address: str


class StreamMemory:
    """Of each request what was said last. `services`: those that the node knows.

    `on_forgotten` is called with requests of which nothing is remembered any more.
    """

    def __init__(self, services: Mapping[str, ServiceState], on_forgotten: Callable[[str], object]) -> None:
        self._services = services
        self._on_forgotten = on_forgotten
        self._names: OrderedDict[str, str] = OrderedDict()
        self._tokens: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._shown: OrderedDict[str, ShownKey] = OrderedDict()

    def named(self, request_id: str) -> str:
        """The service that was named for a request; empty where none is remembered."""
        return self._names.get(request_id, "")

    @property
    def has_tokens(self) -> bool:
        """Whether any resume tokens are kept."""
        return bool(self._tokens)

    def show_key(self, report: Report) -> None:
        """Keep the API key of a report until that has led to a service."""
        self._shown[report.request_id] = ShownKey(report.key_sha256, report.model, report.source_address)
        if len(self._shown) > SHOWN_MAX:
            self._shown.popitem(last=False)

    def forget_key(self, request_id: str) -> None:
        """The key has led to a service."""
        self._shown.pop(request_id, None)

    def service_of(self, report: WireReport) -> str:
        """The service of a report: named in it, or earlier on this stream for the same id.

        What begins with an API key is not about what had this id before, unless that still runs.
        """
        if report.service:
            return report.service
        service = self._names.get(report.request_id, "")
        if service and report.phase == AUTHORIZE and (report.credential or report.credential_sha256):
            state = self._services.get(service)
            return service if state is not None and report.request_id in state.open else ""
        return service

    def with_key(self, report: Report) -> Report:
        """The report with the API key that came before it, while that has not led to a service yet."""
        shown = self._shown.get(report.request_id) if not report.key_sha256 else None
        return report if shown is None else report._replace(**shown._asdict())

    def name(self, request_id: str, service: str) -> None:
        """Remember the service of a request for reports that do not name it."""
        # Each text once: requests are many, services few.
        state = self._services.get(service)
        self._names[request_id] = state.name if state is not None else service
        if len(self._names) > NAMES_MAX:
            self._forget_oldest()

    def with_token(self, report: Report) -> Report:
        """The report with the token that came before it on this stream, if this node does not know its request yet.

        What brought the token may be denied while the database does not answer. Without it nobody could tell that this
        goes on from a part of another node, and both would book it.
        """
        if report.resume or not self._tokens:
            return report
        return report._replace(resume=self._tokens.get((report.service, report.request_id), b""))

    def keep_token(self, report: Report) -> None:
        """Keep the token of a report until its request is known here."""
        key = report.service, report.request_id
        service = self._services.get(report.service)
        if service is not None and (report.request_id in service.open or report.request_id in service.finished):
            self._tokens.pop(key, None)
            return
        self._tokens[key] = report.resume
        if len(self._tokens) > RESUME_TOKENS_MAX:
            self._tokens.popitem(last=False)

    def _forget_oldest(self) -> None:
        """Forget the two oldest, one more than came; those whose requests still run count as new again."""
        for _ in range(2):
            oldest, name = self._names.popitem(last=False)
            self._on_forgotten(oldest)
            state = self._services.get(name)
            if state is not None and oldest in state.open:
                self._names[oldest] = name
