"""Settling statements on leases: what all who take in statements have in common.

A `Settlement` is loaded in a few queries, worked through in memory, and stored in a few statements, however many
leases it is about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.budget import Budget, BudgetKey, BudgetKind, Quantity
from control_service.domain.lease import Lease, Statement
from control_service.domain.lease_round import Claim, Exchange
from control_service.domain.names import MalformedNameError, parse_service, service_name
from control_service.domain.payers import Payers, payers_of
from control_service.domain.reservation import Reserved, reserved
from control_service.domain.service import Service, Trial, standing_of
from control_service.domain.status import PostpaidState, Status
from control_service.usecases.fleet.elapsed_time import OwnTime
from control_service.usecases.fleet_ports import NamedLease, Usage
from control_service.usecases.ports import Transaction

_TAKES_REQUESTS: Final = (Status.RUNNING, Status.ACTIVATING)
_NOTHING_RESERVED: Final = Reserved()


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement with all that names its lease: its holder, its service, its kind."""

    node: str
    epoch: int
    service_name: str
    service_uid: str
    kind: BudgetKind
    statement: Statement


def closing(named: NamedLease) -> Stated:
    """What closes a lease at what is known of it."""
    lease = named.lease
    return Stated(
        node=lease.node,
        epoch=lease.epoch,
        service_name=service_name(lease.account, named.service_id),
        service_uid=lease.service_uid,
        kind=lease.kind,
        statement=Statement(lease.lease_id, closing=True),
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """A service that statements speak of, as it was found, and who pays for it."""

    service: Service
    payers: Payers
    takes_requests: bool


class Settlement:
    """Accounts, services, budgets and leases while statements are worked through."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        subjects: Mapping[str, Subject],
        buckets: Mapping[BudgetKey, Bucket],
        now_us: int,
        own_time: OwnTime,
    ) -> None:
        self.accounts = dict(accounts)
        self.subjects = subjects
        self.claims: list[Claim | None] = []
        self.now_us = now_us
        self._own_time = own_time
        self._exchange = Exchange({**_quantities(accounts, subjects), **buckets}, now_us)

    @property
    def budgets(self) -> Mapping[BudgetKey, Budget]:
        """All budgets of these accounts and services, as the statements leave them."""
        return self._exchange.budgets

    @property
    def came_back(self) -> Collection[BudgetKey]:
        """Budgets that got something back."""
        return self._exchange.came_back

    @property
    def fitting(self) -> Iterable[Claim]:
        """The claims that stand for a lease."""
        return (claim for claim in self.claims if claim is not None)

    def take(self, stated: Sequence[Stated], known: Mapping[str, Lease]) -> None:
        """Works through the statements; `claims` has one for each, None where it does not fit what is known."""
        self.claims = [self._claim(one, known.get(one.statement.lease_id)) for one in stated]
        self._exchange.take(self.fitting)
        self.claims = [claim if claim is not None and claim.fits else None for claim in self.claims]
        for account_id, account in self.accounts.items():
            money = self.budgets[BudgetKey.of(account_id, "", BudgetKind.MONEY)]
            self.accounts[account_id] = replace(account, spent_nanos=money.spent_units, leased_nanos=money.leased_units)

    def _claim(self, stated: Stated, known: Lease | None) -> Claim | None:
        subject = self.subjects.get(stated.service_uid)
        if subject is None or subject.service.name != stated.service_name:
            return None
        service = subject.service
        lease = known or Lease(
            lease_id=stated.statement.lease_id,
            node=stated.node,
            epoch=stated.epoch,
            account=service.account_id,
            service_uid=service.uid,
            kind=stated.kind,
            create_us=self.now_us,
            update_us=self.now_us,
        )
        if (lease.node, lease.service_uid, lease.kind) != (stated.node, stated.service_uid, stated.kind):
            return None
        if lease.budget not in self.budgets:
            return None
        statement = stated.statement
        if service.deleted and known is None:
            # A new lease on what is deleted has nothing to give; what was consumed on it counts all the same.
            statement = replace(statement, closing=True)
        pays = subject.takes_requests and subject.payers.pays(stated.kind)
        return Claim(statement, lease, pays, recall_waits=self._own_time.waits_for(lease))

    def trials(self) -> list[Service]:
        """The services whose trials are touched, with their trials as the statements leave them."""
        held: dict[str, int] = {}
        for claim in self.fitting:
            if claim.lease.kind is BudgetKind.TRIAL:
                more = claim.lease.held_units - claim.before.held_units
                held[claim.lease.service_uid] = held.get(claim.lease.service_uid, 0) + more
        return [self._with_trial(self.subjects[uid].service, more) for uid, more in held.items()]

    def _with_trial(self, service: Service, more_held_tokens: int) -> Service:
        budget = self.budgets[BudgetKey.of(service.account_id, service.uid, BudgetKind.TRIAL)]
        trial = service.trial
        assert trial is not None
        assert isinstance(budget, Quantity)
        trial = replace(
            trial,
            spent_tokens=budget.spent_units,
            leased_tokens=budget.leased_units,
            held_tokens=trial.held_tokens + more_held_tokens,
        )
        return replace(service, trial=trial)

    def usage(self) -> list[Usage]:
        """What each service spent of its account's money."""
        spent: dict[str, int] = {}
        for claim in self.fitting:
            if claim.lease.kind is BudgetKind.MONEY and claim.spent_units:
                spent[claim.lease.service_uid] = spent.get(claim.lease.service_uid, 0) + claim.spent_units
        return [
            Usage(service.account_id, service.service_id, service.uid, amount_nanos)
            for service, amount_nanos in ((self.subjects[uid].service, amount) for uid, amount in spent.items())
        ]

    async def store(self, tx: Transaction) -> None:
        """Stores leases, budgets and ledger lines; not what follows from them for accounts and services."""
        await tx.leases.put(
            [
                NamedLease(claim.lease, self.subjects[claim.lease.service_uid].service.service_id)
                for claim in self.fitting
            ]
        )
        usage = self.usage()
        if usage:
            self.accounts = await tx.books.add_usage(self.accounts, usage, self.now_us)
        await tx.books.save_trials(self.trials())
        touched = {claim.lease.budget for claim in self.fitting}
        await tx.books.save_buckets(
            {key: budget for key, budget in self.budgets.items() if key in touched and isinstance(budget, Bucket)}
        )


def _quantities(accounts: Mapping[str, Account], subjects: Mapping[str, Subject]) -> dict[BudgetKey, Budget]:
    budgets: dict[BudgetKey, Budget] = {
        BudgetKey.of(account.account_id, "", BudgetKind.MONEY): money_of(account) for account in accounts.values()
    }
    for subject in subjects.values():
        trial = subject.service.trial
        if trial is not None:
            key = BudgetKey.of(subject.service.account_id, subject.service.uid, BudgetKind.TRIAL)
            budgets[key] = trial_of(trial)
    return budgets


def money_of(account: Account) -> Quantity:
    """An account's money as a budget."""
    return Quantity(
        capacity_units=account.funds_nanos + account.credit_limit_nanos,
        leased_units=account.leased_nanos,
        spent_units=account.spent_nanos,
        floor_units=account.overdue_floor_nanos,
    )


def trial_of(trial: Trial) -> Quantity:
    """A trial as a budget."""
    return Quantity(trial.quota_tokens, trial.leased_tokens, trial.spent_tokens)


async def settle(tx: Transaction, stated: Sequence[Stated], now_us: int, own_time: OwnTime) -> Settlement:
    """Locks the accounts that statements speak of, loads what they are about, and works through them."""
    account_of = {one.statement.lease_id: account_id for one in stated if (account_id := _account_of(one)) is not None}
    account_ids = set(account_of.values())
    accounts = await tx.books.lock_accounts(account_ids) if account_ids else {}
    subjects = await _subjects(tx, accounts, {one.service_uid for one in stated}, now_us)
    stored = await _buckets(tx, subjects, stated)
    buckets = {
        key: _rated(own_time.refilled(key, bucket, now_us), subjects[key.service_uid].payers.reserved, key.kind)
        for key, bucket in stored.items()
    }
    settlement = Settlement(accounts, subjects, buckets, now_us, own_time)
    keys = [(account_id, lease_id) for lease_id, account_id in account_of.items()]
    known = await tx.leases.find(keys) if subjects else []
    settlement.take(stated, {lease.lease_id: lease for lease in known})
    return settlement


def _account_of(stated: Stated) -> str | None:
    try:
        return parse_service(stated.service_name)[0]
    except MalformedNameError:
        return None


async def _subjects(
    tx: Transaction, accounts: Mapping[str, Account], uids: Collection[str], now_us: int
) -> dict[str, Subject]:
    if not accounts:
        return {}
    services = await tx.books.services(accounts, uids)
    with_reservations = [service for service in services if service.reservation_count]
    reservations = await tx.books.reservations(with_reservations, now_us) if with_reservations else {}
    paying = {service.model_id for service in services if service.postpaid is PostpaidState.ENABLED}
    priced = await tx.models.in_force(paying, now_us) if paying else frozenset()
    subjects = {}
    for service in services:
        account = accounts[service.account_id]
        has_price = service.model_id in priced
        in_force = reserved(reservations[service.uid], now_us) if service.uid in reservations else _NOTHING_RESERVED
        subjects[service.uid] = Subject(
            service=service,
            payers=payers_of(service, account, in_force, now_us, price_in_force=has_price),
            takes_requests=standing_of(service, account, in_force, now_us, price_in_force=has_price).status
            in _TAKES_REQUESTS,
        )
    return subjects


async def _buckets(
    tx: Transaction, subjects: Mapping[str, Subject], stated: Sequence[Stated]
) -> dict[BudgetKey, Bucket]:
    """The buckets that statements speak of, as they are stored."""
    keys = {
        BudgetKey.of(subjects[one.service_uid].service.account_id, one.service_uid, one.kind)
        for one in stated
        if one.kind.is_rate and one.service_uid in subjects
    }
    return await tx.books.buckets(keys) if keys else {}


def _rated(bucket: Bucket, in_force: Reserved, kind: BudgetKind) -> Bucket:
    """The bucket at a lower rate, where a reservation ended that nobody has dealt with yet."""
    rate = in_force.by_kind[kind]
    return bucket.rated(rate) if rate < bucket.rate_tokens_per_minute else bucket
