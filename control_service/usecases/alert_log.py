"""Alerts as they are written: in the transaction that causes them, with a delivery for each webhook that wants them."""

from control_service.domain.account import Account
from control_service.domain.alert import Alert, AlertContent, AlertKind
from control_service.domain.delivery import new_delivery
from control_service.domain.event import ServiceEvent
from control_service.domain.limit import FOR_EVER, Budget
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.names import account_name, service_name
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from control_service.domain.threshold import is_less
from control_service.usecases.ports import Transaction


async def tell(tx: Transaction, account_id: str, content: AlertContent, now_us: int) -> Alert:
    """Writes an alert of an account that is locked, and sends it on its way."""
    alert = await tx.alerts.add(account_id, content, now_us)
    wanting = [one for one in await tx.webhooks.of_account(account_id) if one.wants(content.kind)]
    await tx.deliveries.put([new_delivery(one, alert.message_id, alert.number, now_us) for one in wanting])
    return alert


async def tell_of_account(tx: Transaction, before: Account, after: Account, now_us: int) -> None:
    """Tells that the account became overdue or has recovered, and of the threshold that its money has fallen to."""
    if after.overdue != before.overdue:
        kind = AlertKind.ACCOUNT_OVERDUE if after.overdue else AlertKind.ACCOUNT_RECOVERED
        figures = {"left_nanos": after.left_nanos, "balance_nanos": after.balance_nanos}
        content = AlertContent(kind, account_name(after.account_id), figures, {"currency_code": after.currency_code})
        await tell(tx, after.account_id, content, now_us)
    if is_less(after.told_left_nanos, before.told_left_nanos):
        assert after.told_left_nanos is not None
        figures = {
            "threshold_nanos": after.told_left_nanos,
            "left_nanos": after.left_nanos,
            "balance_nanos": after.balance_nanos,
        }
        words = {"currency_code": after.currency_code}
        content = AlertContent(AlertKind.MONEY_THRESHOLD, account_name(after.account_id), figures, words)
        await tell(tx, after.account_id, content, now_us)


async def tell_of_trial(tx: Transaction, before: Service, after: Service, now_us: int) -> None:
    """Tells of the threshold that a trial has reached, if it is a further one than before."""
    trial = after.trial
    if before.trial is None or trial is None or trial.told_percent <= before.trial.told_percent:
        return
    figures = {
        "threshold_percent": trial.told_percent,
        "spent_units": trial.spent_tokens,
        "amount_units": trial.quota_tokens,
    }
    content = AlertContent(AlertKind.TRIAL_THRESHOLD, after.name, figures, {"pot_kind": PotKind.TRIAL.value})
    await tell(tx, after.account_id, content, now_us)


async def tell_of_budget(tx: Transaction, budget: Budget, pot: BudgetPot, now_us: int) -> None:
    """Tells of the threshold that a budget's pot has reached."""
    figures = {
        "threshold_percent": pot.told_percent,
        "spent_units": pot.spent_units,
        "amount_units": pot.capacity_units,
    }
    if pot.key.period_start_us != FOR_EVER:
        figures["period_start_us"] = pot.key.period_start_us
    words = {"pot_kind": pot.kind.value}
    if pot.key.member_uid:
        words["member_uid"] = pot.key.member_uid
    content = AlertContent(AlertKind.BUDGET_THRESHOLD, budget.name, figures, words)
    await tell(tx, pot.key.account_id, content, now_us)


async def tell_of_event(tx: Transaction, event: ServiceEvent) -> None:
    """Tells of a service's new status; another reason for the same status is in its events alone."""
    if event.new_status is event.old_status:
        return
    words = {
        "old_status": event.old_status.value,
        "new_status": event.new_status.value,
        "stop_reasons": ",".join(sorted(event.new_stop_reasons)),
        "cause": event.origin.cause.value,
    }
    content = AlertContent(AlertKind.SERVICE_STATUS, service_name(event.account_id, event.service_id), words=words)
    await tell(tx, event.account_id, content, event.origin.at_us)
