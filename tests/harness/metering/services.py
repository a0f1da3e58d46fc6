"""Services that say only what a test is about."""

from dataclasses import replace
from typing import Any

from metering_service.domain.price import Price
from metering_service.domain.service import ServiceConfig, Status, StopReason
from tests.harness.metering.node_harness import Fleet

SERVICE = "accounts/acme/services/chat"
UID = "uid-chat"
NANO_EACH = Price(1, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000)


def running(name: str = SERVICE, **more: Any) -> ServiceConfig:
    """A service that runs; what pays for it is said along with it."""
    return ServiceConfig(name, Status.RUNNING, uid=f"uid-{name.rsplit('/', 1)[1]}", **more)


def with_trial(fleet: Fleet, quota_tokens: int, **more: Any) -> ServiceConfig:
    """A service with a trial, and nothing else unless it is said."""
    config = fleet.control.put(running(trial_pays=True, **more))
    fleet.control.trial(config, quota_tokens)
    return config


def with_money(fleet: Fleet, nanos: int, *, price: Price = NANO_EACH, **more: Any) -> ServiceConfig:
    """A pay-as-you-go service of an account with so much, at a nano a token unless it is said otherwise."""
    config = fleet.control.put(running(postpaid_pays=True, debt_allowed=True, price=price, **more))
    fleet.control.top_up(nanos)
    return config


def with_reservation(fleet: Fleet, tokens_per_minute: int) -> None:
    """A service with a reservation, and nothing else."""
    tpm: dict[str, Any] = {"reserved_input_tpm": tokens_per_minute, "reserved_output_tpm": tokens_per_minute}
    fleet.control.reserve(fleet.control.put(running(reservation_pays=True, price=NANO_EACH, **tpm)))


def stopped(config: ServiceConfig, reason: StopReason = StopReason.POSTPAID_DISABLED) -> ServiceConfig:
    """The same service, stopped; nothing pays for it any more."""
    return replace(
        config,
        status=Status.STOPPED,
        stop_reasons=frozenset({reason}),
        reservation_pays=False,
        trial_pays=False,
        postpaid_pays=False,
    )
