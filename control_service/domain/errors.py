"""Everything that can go wrong in the control service, as plain exceptions: a family, a reason, facts for machines."""

import enum
from collections.abc import Sequence


class Reason(enum.StrEnum):
    """Why a call failed; the contract documents each in `ErrorReason`."""

    INVALID_REQUEST = "INVALID_REQUEST"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_EXISTS = "RESOURCE_EXISTS"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    NO_PRICE_IN_FORCE = "NO_PRICE_IN_FORCE"
    NO_TRIAL_OFFER = "NO_TRIAL_OFFER"
    TRIAL_ALREADY_CLAIMED = "TRIAL_ALREADY_CLAIMED"
    POSTPAID_NEVER_ENABLED = "POSTPAID_NEVER_ENABLED"
    NO_RESERVATION_PRICE = "NO_RESERVATION_PRICE"
    CUSTOM_SERVICE_REQUIRED = "CUSTOM_SERVICE_REQUIRED"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    RESERVATION_ACTIVE = "RESERVATION_ACTIVE"
    RESERVATION_NOT_ACTIVE = "RESERVATION_NOT_ACTIVE"
    DEFAULT_SERVICE = "DEFAULT_SERVICE"
    SERVICE_DELETED = "SERVICE_DELETED"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    NODE_FENCED = "NODE_FENCED"
    METERING_DATABASE_MISMATCH = "METERING_DATABASE_MISMATCH"
    NODE_NOT_REGISTERED = "NODE_NOT_REGISTERED"
    CONFIG_STALE = "CONFIG_STALE"
    EXCHANGE_SUPERSEDED = "EXCHANGE_SUPERSEDED"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    CONTROL_WENT_BACKWARDS = "CONTROL_WENT_BACKWARDS"
    METERING_WENT_BACKWARDS = "METERING_WENT_BACKWARDS"
    CREDENTIAL_MISSING = "CREDENTIAL_MISSING"
    CREDENTIAL_INVALID = "CREDENTIAL_INVALID"
    CREDENTIAL_EXPIRED = "CREDENTIAL_EXPIRED"
    CREDENTIAL_REVOKED = "CREDENTIAL_REVOKED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NODE_NAME_DENIED = "NODE_NAME_DENIED"
    EPOCH_IMPLAUSIBLE = "EPOCH_IMPLAUSIBLE"
    ISSUER_UNAVAILABLE = "ISSUER_UNAVAILABLE"
    OWN_BINDING = "OWN_BINDING"
    LAST_OWNER = "LAST_OWNER"
    ROLE_DENIED = "ROLE_DENIED"
    TEAM_IN_USE = "TEAM_IN_USE"
    RESOURCE_DELETED = "RESOURCE_DELETED"
    TOKENS_NOT_KEPT = "TOKENS_NOT_KEPT"
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"
    PRICE_IN_EFFECT = "PRICE_IN_EFFECT"
    MODEL_RETIRED = "MODEL_RETIRED"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"


class ControlError(Exception):
    """The root. The message is one sentence for a person: what is wrong, where, what to do."""

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


class InvalidRequestError(ControlError):
    """Fields of the request are wrong; `violations` are pairs of a field's path and what is wrong with it."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        sentence = "; ".join(f"{path}: {description}" for path, description in violations)
        super().__init__(Reason.INVALID_REQUEST, f"The request is not valid: {sentence}.")
        self.violations = tuple(violations)


class ResourceNotFoundError(ControlError):
    """There is no resource of that name."""

    def __init__(self, resource: str) -> None:
        super().__init__(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}; check the name.", resource=resource)


class ResourceExistsError(ControlError):
    """The name is, or was, in use."""

    def __init__(self, resource: str, message: str = "") -> None:
        text = message or f"The name {resource} is or was in use, and names are never reused; take another."
        super().__init__(Reason.RESOURCE_EXISTS, text, resource=resource)


class IdempotencyKeyReusedError(ControlError):
    """An idempotency key was used again with other arguments."""

    def __init__(self) -> None:
        super().__init__(
            Reason.IDEMPOTENCY_KEY_REUSED,
            "This idempotency_key was used before with other arguments; take a new key for a new call.",
        )


class RefusedError(ControlError):
    """The present state forbids the call; the reason names the state, the message the remedy."""


class DeniedError(ControlError):
    """The caller may not do this, whatever the state of things; the reason says what is lacking."""


class SupersededError(ControlError):
    """A later exchange was taken already."""


class StorageUnavailableError(ControlError):
    """The database does not answer, or could not serve this transaction among others; trying again may work."""

    def __init__(self, problem: str = "did not answer in time") -> None:
        super().__init__(
            Reason.STORAGE_UNAVAILABLE,
            f"The control database {problem}; try again with the same idempotency_key.",
        )
