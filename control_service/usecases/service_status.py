"""A service's status after its facts changed: derived, stored with its event, and announced to the metering nodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from control_service.domain.account import Account
from control_service.domain.actor import SYSTEM, Actor
from control_service.domain.event import EventCause, Origin, ServiceEvent
from control_service.domain.reservation import Reserved, reserved
from control_service.domain.service import Service, ServiceView, next_due_us, status_of
from control_service.domain.status import PostpaidState, ServiceStatus, Status
from control_service.usecases.alert_log import tell_of_account, tell_of_event
from control_service.usecases.ports import Transaction

AT_ONCE_US: Final = 0
"""The due moment of what a clock that was ahead has dealt with too early, see `Configs.reschedule_missed`."""


async def reserved_by(tx: Transaction, service: Service, now_us: int) -> Reserved:
    """The sum of the service's active reservations."""
    if service.reservation_count == 0:
        return Reserved()
    found = await tx.reservations.active(service.account_id, [service.service_id], now_us)
    return reserved(found.get(service.service_id, []), now_us)


async def has_price(tx: Transaction, service: Service, now_us: int) -> bool:
    """Whether the service's model has a price in force; True without a query for a service without pay-as-you-go."""
    if service.postpaid is not PostpaidState.ENABLED:
        return True
    return bool(await tx.models.in_force([service.model_id], now_us))


async def view(tx: Transaction, account: Account, service: Service, now_us: int) -> ServiceView:
    """The service as of this moment, with its derived status and its reserved rates."""
    rates = await reserved_by(tx, service, now_us)
    priced = await has_price(tx, service, now_us)
    return ServiceView(account, service, status_of(service, account, rates, now_us, price_in_force=priced), rates)


async def update_status(
    tx: Transaction, account: Account, service: Service, origin: Origin, *, config_changed: bool = False
) -> Service:
    """Stores a service whose facts changed, with the status that follows. The account is locked.

    Writes an event if status or stop reasons changed. Takes a new configuration version if anything changed that nodes
    see, or if `config_changed`. Notes when time alone will change the status next.

    Args:
        tx: the transaction in which the facts changed.
        account: the service's account, as it is now.
        service: the service with its new facts; it need not be stored yet.
        origin: cause, actor and time of the change, for the event.
        config_changed: reservations, the account's latch or the service's settings for nodes changed.

    Returns:
        The service as stored.
    """
    now_us = origin.at_us
    rates = await reserved_by(tx, service, now_us)
    priced = await has_price(tx, service, now_us)
    derived = status_of(service, account, rates, now_us, price_in_force=priced)
    if config_changed or derived != service.recorded_status:
        version = await tx.next_config_version()
        service = replace(service, config_version=version)
        if service.activation_version is None and derived.status is not Status.NOT_ENABLED:
            service = replace(service, activation_version=version)
        await _fit_buckets(tx, service, rates, now_us)
    if (derived.status, derived.stop_reasons) != (service.told_status, service.told_stop_reasons):
        service = await _add_event(tx, service, derived, origin)
    service = replace(
        service,
        told_status=derived.status,
        told_stop_reasons=derived.stop_reasons,
        told_billing_modes=derived.billing_modes,
        next_due_us=next_due_us(service, rates, now_us),
    )
    return await keep(tx, service, now_us)


async def keep(tx: Transaction, service: Service, now_us: int) -> Service:
    """Stores a service as it is now. A default service is stored from the first act on it."""
    if service.create_us is None:
        service = replace(service, create_us=now_us, update_us=now_us)
        await tx.services.add(service)
    else:
        service = replace(service, update_us=now_us)
        await tx.services.save(service)
    return service


async def catch_up(tx: Transaction, account: Account, service: Service, now_us: int) -> Service:
    """Applies what time alone has changed since the service was stored, moment by moment, each with its own event."""
    while service.next_due_us is not None and service.next_due_us <= now_us:
        origin = _origin_of(service, service.next_due_us, now_us)
        service = await update_status(tx, account, service, origin, config_changed=True)
    return service


def _origin_of(service: Service, due_us: int, now_us: int) -> Origin:
    if due_us == AT_ONCE_US:
        return Origin(EventCause.CLOCK_SET_BACK, SYSTEM, now_us)
    expired = service.trial is not None and service.trial.expire_us == due_us
    return Origin(EventCause.TRIAL_EXPIRED if expired else EventCause.RESERVATION_ENDED, SYSTEM, due_us)


async def update_statuses(tx: Transaction, account: Account, origin: Origin) -> None:
    """`update_status` for every service that the account's latch or policy may stop: those with pay-as-you-go."""
    await update_each(tx, account, await tx.services.with_postpaid(account.account_id), origin)


async def update_each(tx: Transaction, account: Account, services: Sequence[Service], origin: Origin) -> None:
    """`update_status` for services of an account that has changed."""
    for service in services:
        service = await catch_up(tx, account, service, origin.at_us)  # noqa: PLW2901  # the same, later
        await update_status(tx, account, service, origin, config_changed=True)


async def save_account(tx: Transaction, before: Account, after: Account, actor: Actor, now_us: int) -> Account:
    """Stores a locked account, tells of it, and updates the statuses of its services if its latch or policy changed."""
    after = after.told_of_money()
    await tx.accounts.save(after)
    await tell_of_account(tx, before, after, now_us)
    if after.overdue != before.overdue:
        cause = EventCause.ACCOUNT_OVERDUE if after.overdue else EventCause.ACCOUNT_RECOVERED
        await update_statuses(tx, after, Origin(cause, actor, now_us))
    elif after.overdue_policy is not before.overdue_policy:
        await update_statuses(tx, after, Origin(EventCause.ACCOUNT_UPDATED, actor, now_us))
    return after


async def _add_event(tx: Transaction, service: Service, derived: ServiceStatus, origin: Origin) -> Service:
    event = ServiceEvent(
        account_id=service.account_id,
        service_id=service.service_id,
        event_number=service.event_count + 1,
        origin=origin,
        old_status=service.told_status,
        new_status=derived.status,
        old_stop_reasons=service.told_stop_reasons,
        new_stop_reasons=derived.stop_reasons,
    )
    await tx.events.add(event)
    await tell_of_event(tx, event)
    return replace(service, event_count=event.event_number)


async def _fit_buckets(tx: Transaction, service: Service, rates: Reserved, now_us: int) -> None:
    """Lowers the buckets' rates to those of the reservations that are still active."""
    if service.reservation_count == 0:
        return
    for kind, rate in rates.by_kind.items():
        bucket = await tx.buckets.find(service.account_id, service.uid, kind)
        if bucket is not None and bucket.rate_tokens_per_minute != rate:
            # A moment that is caught up with late may be before the bucket's last refill.
            bucket = bucket.refilled(max(now_us, bucket.updated_us))
            await tx.buckets.put(service.account_id, service.uid, kind, bucket.rated(rate))
