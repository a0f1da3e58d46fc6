"""Effects of a settlement on accounts and services: the overdue latch, and trials that are used up."""

from __future__ import annotations

from control_service.domain.actor import SYSTEM
from control_service.domain.event import EventCause, Origin
from control_service.domain.lease_round import StatementWork
from control_service.domain.overdue import reassess, starve
from control_service.domain.pot import PotKind
from control_service.usecases.alert_log import tell_of_account, tell_of_budget, tell_of_trial
from control_service.usecases.fleet.lease_settlement import Settlement
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import catch_up, update_status, update_statuses


async def apply_effects(tx: Transaction, settlement: Settlement) -> bool:
    """Stores the accounts of a settlement whose leases are stored, and the statuses that change with them.

    Returns:
        Whether any status may have changed, so that nodes must be notified.
    """
    for crossed in settlement.crossed:
        await tell_of_budget(tx, crossed.budget, crossed.pot, settlement.now_us)
    trials_changed = await _update_trials(tx, settlement)
    latches_changed = await _update_accounts(tx, settlement)
    return trials_changed or latches_changed


async def _update_accounts(tx: Transaction, settlement: Settlement) -> bool:
    now_us = settlement.now_us
    starving = {work.lease.account for work in settlement.fitting if _starves(work, settlement)}
    changed, told = [], []
    for account_id, before in settlement.accounts.items():
        account = reassess(before, now_us)
        if account_id in starving:
            account = starve(account, now_us)
        account = account.told_of_money()
        settlement.accounts[account_id] = account
        told.append((before, account))
        if account.overdue != before.overdue:
            changed.append(account)
    await tx.batches.save_money(settlement.accounts.values())
    for before, account in told:
        await tell_of_account(tx, before, account, now_us)
    for account in changed:
        cause = EventCause.ACCOUNT_OVERDUE if account.overdue else EventCause.ACCOUNT_RECOVERED
        await update_statuses(tx, account, Origin(cause, SYSTEM, now_us))
    return bool(changed)


def _starves(work: StatementWork, settlement: Settlement) -> bool:
    """Whether requests wait for money of their account, and neither trial nor reservation can pay for them."""
    if work.lease.kind is not PotKind.MONEY or not work.pays or not work.falls_short:
        return False
    payers = settlement.subjects[work.lease.service_uid].payers
    return not payers.trial and not payers.reservation


async def _update_trials(tx: Transaction, settlement: Settlement) -> bool:
    now_us = settlement.now_us
    changed = False
    for service in settlement.trials():
        stored = settlement.subjects[service.uid].service
        await tell_of_trial(tx, stored, service, now_us)
        before = stored.trial
        if service.trial is None or before is None or service.trial.exhausted == before.exhausted:
            continue
        account = settlement.accounts[service.account_id]
        caught_up = await catch_up(tx, account, service, now_us)
        await update_status(tx, account, caught_up, Origin(EventCause.TRIAL_EXHAUSTED, SYSTEM, now_us))
        changed = True
    return changed
