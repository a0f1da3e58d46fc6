"""Thresholds of an account: of its trials, and of its money."""

from dataclasses import dataclass, replace

from control_service.domain.account import Account
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import save_account


@dataclass(frozen=True, slots=True)
class AlertSettingsUpdate:
    """New thresholds, in order; None leaves those that there are, and none at all tells of nothing."""

    trial_percents: tuple[int, ...] | None
    left_nanos_thresholds: tuple[int, ...] | None


async def update_alert_settings(tx: Transaction, account: Account, update: AlertSettingsUpdate, act: Act) -> Account:
    """Changes thresholds. One that money has reached already is told of at once; of a trial, with its next tokens."""
    given = {name: getattr(update, name) for name in AlertSettingsUpdate.__slots__}
    changed = replace(
        account, update_us=act.now_us, **{name: value for name, value in given.items() if value is not None}
    )
    return await save_account(tx, account, changed, act.actor, act.now_us)
