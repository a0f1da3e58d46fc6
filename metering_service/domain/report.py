"""Reports as inference servers send them, and what makes one malformed."""

from enum import Enum
from typing import Final, NamedTuple

from metering_service.domain.counts import Counts, Tally

REQUEST_ID_BYTES_MAX: Final = 64
SERVICE_BYTES_MAX: Final = 256
TOKENS_MAX: Final = 100_000_000
HOLD_FOR_NS_MAX: Final = 3_600 * 1_000_000_000
HANDLES_MAX: Final = 131_072
NO_HANDLE: Final = 0
LABELS_MAX: Final = 8
LABEL_BYTES_MAX: Final = 64
CREDENTIAL_BYTES_MAX: Final = 256
SHA256_BYTES: Final = 32
MODEL_BYTES_MAX: Final = 256
ADDRESS_BYTES_MAX: Final = 256


class Phase(Enum):
    """Where a request is in its life."""

    AUTHORIZE = 1
    PROGRESS = 2
    FINISH = 3


class Report(NamedTuple):
    """What an inference server says of one request: cumulative counts so far. `phase` None is an unknown one."""

    request_id: str
    service: str
    phase: Phase | None
    counts: Counts
    max_output_tokens: int | None = None
    credential: str = ""
    """Unique id of the API key, once that is known; empty for none, and for one that nobody has."""
    labels: tuple[tuple[str, str], ...] = ()
    estimated: bool = False
    want_receipt: bool = False
    resume: bytes = b""
    whole: bool = False
    """The server cannot be stopped in the middle of this answer."""
    hold_for_ns: int | None = None
    """For so long the request stays open without a stream that speaks of it."""
    min_output_tokens: int | None = None
    """The least output that the answer may be cut down to."""
    unreadable: str = ""
    """Why it could not be read, as one sentence; then it has an id at most."""
    key_sha256: bytes = b""
    """SHA-256 of the API key that it came with; empty without one."""
    model: str = ""
    """The model as the end user called it."""
    source_address: str = ""
    key_team: str = ""
    """Id of the API key's team, once the key is known; empty for none."""
    handle: int = NO_HANDLE
    """The number that stands for the request in columns of this stream from now on; 0: as before, if any does."""

    @property
    def concerns_whole(self) -> bool:
        """Whether it says anything that is only for an answer which comes as a whole."""
        return self.whole or self.hold_for_ns is not None or self.min_output_tokens is not None

    @property
    def tally(self) -> Tally:
        """What it says, as it ranks."""
        return Tally.of(self.counts, finish=self.phase is Phase.FINISH, estimated=self.estimated)


def echo(request_id: str) -> str:
    """The id by which a malformed report is answered: what fits into 64 bytes of its own."""
    return request_id[:REQUEST_ID_BYTES_MAX].encode()[:REQUEST_ID_BYTES_MAX].decode(errors="ignore")


def problem(report: Report) -> str | None:
    """What is wrong with a report, as one sentence; None if nothing is."""
    return (
        report.unreadable
        or _problem_of_names(report)
        or _problem_of_counts(report)
        or (_problem_of_handle(report.handle) if report.handle else None)
        or (_problem_of_whole(report) if report.concerns_whole else None)
        or (_problem_of_labels(report) if report.labels else None)
        or (_problem_of_key(report) if report.key_sha256 or report.model or report.source_address else None)
    )


def _problem_of_names(report: Report) -> str | None:
    if not report.request_id:
        return "request_id is empty: give every request an id of its own."
    if len(report.request_id.encode()) > REQUEST_ID_BYTES_MAX:
        return f"request_id is longer than {REQUEST_ID_BYTES_MAX} bytes."
    if "\0" in report.request_id:
        return "request_id has a zero byte."
    if not report.service and not report.key_sha256:
        return "service is missing: name it, accounts/{account}/services/{service}, once on each stream, or an API key."
    if len(report.service.encode()) > SERVICE_BYTES_MAX:
        return f"service is longer than {SERVICE_BYTES_MAX} bytes, as no service's name is."
    return None


def _problem_of_counts(report: Report) -> str | None:
    counts = report.counts
    if report.phase is None:
        return "phase is none of AUTHORIZE, PROGRESS and FINISH."
    if min(counts) < 0:
        return "usage has a negative count: counts are cumulative and only grow."
    if max(counts) > TOKENS_MAX:
        return f"usage has a count above {TOKENS_MAX:,} tokens."
    if report.max_output_tokens is not None and not 0 <= report.max_output_tokens <= TOKENS_MAX:
        return f"max_output_tokens is not between 0 and {TOKENS_MAX:,}."
    return None


def _problem_of_handle(handle: int) -> str | None:
    return None if 0 < handle <= HANDLES_MAX else f"handle is not between 1 and {HANDLES_MAX:,}."


def _problem_of_whole(report: Report) -> str | None:
    hold_for_ns, min_output_tokens = report.hold_for_ns, report.min_output_tokens
    if not report.whole:
        field = "hold_for" if hold_for_ns is not None else "min_output_tokens"
        return f"{field} is only for an answer that comes as a whole: set whole as well, or leave it out."
    if report.phase is not Phase.AUTHORIZE:
        return "whole is only for AUTHORIZE: leave it out of later reports."
    if hold_for_ns is not None and not 0 < hold_for_ns <= HOLD_FOR_NS_MAX:
        return "hold_for is not longer than zero and at most 1 h."
    if min_output_tokens is not None and not 0 <= min_output_tokens <= TOKENS_MAX:
        return f"min_output_tokens is not between 0 and {TOKENS_MAX:,}."
    return None


def _problem_of_labels(report: Report) -> str | None:
    if len(report.labels) > LABELS_MAX:
        return f"labels has more than {LABELS_MAX} entries."
    if any(max(len(key.encode()), len(value.encode())) > LABEL_BYTES_MAX for key, value in report.labels):
        return f"labels has a key or value longer than {LABEL_BYTES_MAX} bytes."
    if any(not key for key, _ in report.labels):
        return "labels has an empty key."
    if any("\0" in key + value for key, value in report.labels):
        return "labels has a zero byte."
    return None


def _problem_of_key(report: Report) -> str | None:
    """What is wrong with what the API key is judged by."""
    if report.key_sha256 and len(report.key_sha256) != SHA256_BYTES:
        return f"credential_sha256 is not {SHA256_BYTES} bytes long, as every SHA-256 is."
    if len(report.model.encode()) > MODEL_BYTES_MAX:
        return f"model is longer than {MODEL_BYTES_MAX} bytes."
    if "\0" in report.model:
        return "model has a zero byte."
    if len(report.source_address.encode()) > ADDRESS_BYTES_MAX:
        return f"source_address is longer than {ADDRESS_BYTES_MAX} bytes."
    return None
