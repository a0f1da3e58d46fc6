"""The errors of the metering service; the api maps them to gRPC statuses."""

from typing import Final

from metering_service.domain.credential import CredentialState

_REFUSED: Final = {
    CredentialState.UNKNOWN: "This credential opens nothing here: check what was copied, or ask for another.",
    CredentialState.EXPIRED: "This credential has expired: sign in again, or take another token.",
    CredentialState.REVOKED: "This credential was revoked: it, or whoever it belongs to, was disabled or deleted.",
}


class MeteringError(Exception):
    """Root of this service's errors. `str()` is one sentence for a person."""


class NodeFencedError(MeteringError):
    """Another epoch of this node has taken over; nothing of the batch was written."""


class RevisedElsewhereError(NodeFencedError):
    """Another node revised a request at the same moment. Nothing of the batch was written, so this epoch is over.

    `key` is the record's, `revision` the one that was expected, `found` the one on record; None where there is none.
    """

    def __init__(self, key: tuple[str, str, str], revision: int, found: int | None) -> None:
        service, request_id, _ = key
        is_found = "no longer on record" if found is None else f"of revision {found}"
        super().__init__(
            f"Request {request_id} of {service} is {is_found}, not {revision}: another node has revised it at the same"
            f" moment."
        )


class StorageUnavailableError(MeteringError):
    """The metering database did not answer; whether the batch was written is not known. Retry the same batch."""


class CredentialRefusedError(MeteringError):
    """A caller's credential opens nothing; `state` says why."""

    def __init__(self, state: CredentialState) -> None:
        super().__init__(_REFUSED[state])
        self.state = state


class CredentialUnverifiedError(MeteringError):
    """This node could not find out who a caller is."""

    def __init__(self) -> None:
        super().__init__(
            "This node cannot find out whose credential this is, because control does not answer it: try again, or at "
            "another node."
        )


class TooManyGuessesError(CredentialUnverifiedError):
    """Control is not asked about a caller now: its address has shown too many credentials that open nothing."""

    def __init__(self) -> None:
        MeteringError.__init__(
            self,
            "This node does not find out whose credential this is, because too many that open nothing came from this "
            "address: try again in a second, or at another node.",
        )


class RightsChangedError(MeteringError):
    """The caller of a stream may no longer report on all that the stream reported on. `scope`: what it lost."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            "This caller may no longer report on all services of this stream: open another one for those that are left."
        )
        self.scope = scope


class OverloadedError(MeteringError):
    """Too many reports wait; this one was not taken in."""


class RecordNotFoundError(MeteringError):
    """There is no record of that request. `resource` says which."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"There is no record of {resource}.")
        self.resource = resource


class InvalidRequestError(MeteringError):
    """A query's arguments are wrong. `violations`: (field, what is wrong with it)."""

    def __init__(self, *violations: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in violations))
        self.violations = violations


class SequenceGapError(MeteringError):
    """Reports on a stream are numbered without gaps."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"This message begins with report {actual}, but {expected} comes next: number without gaps.")
        self.expected = expected
        self.actual = actual
