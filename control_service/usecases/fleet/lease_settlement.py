"""Settlement of leases by statements, as exchanges and the recovery after a restore do it.

A `Settlement` is loaded in a few queries, worked through in memory, and stored in a few SQL statements, however many
leases it is about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.lease import Lease, Statement, may_overdraw, stands_beside
from control_service.domain.lease_round import LeaseRound, StatementWork
from control_service.domain.limit import LimitPotKey
from control_service.domain.payer_pots import money_of, trial_of
from control_service.domain.payers import Payers, payers_of
from control_service.domain.pot import Pot, PotKey, PotKind, Quantity
from control_service.domain.reservation import Reserved, reserved
from control_service.domain.service import Service, status_of
from control_service.domain.status import PostpaidState, Status
from control_service.domain.threshold import trial_percent_reached
from control_service.usecases.fleet.elapsed_time import ElapsedTime
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet_ports import NamedLease, Usage
from control_service.usecases.limit_pots import Crossed, LoadedPot, load_pots, store_pots
from control_service.usecases.ports import Transaction
from control_service.usecases.rule_pots import LoadedRule, load_rule_pots, store_rule_pots

_TAKES_REQUESTS: Final = (Status.RUNNING, Status.ACTIVATING)
_NOTHING_RESERVED: Final = Reserved()


@dataclass(frozen=True, slots=True)
class Subject:
    """A service with statements, as it is stored, its payers, and whether its status takes requests."""

    service: Service
    payers: Payers
    takes_requests: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """What statements are about, as it is stored: locked accounts, services by uid, buckets, and pots of limits."""

    accounts: Mapping[str, Account]
    subjects: Mapping[str, Subject]
    buckets: Mapping[PotKey, Bucket]
    limit_pots: Mapping[PotKey, LoadedPot | LoadedRule]


class Settlement:
    """Accounts, services, pots and leases while statements are worked through.

    `works` has one element for each statement: None for a statement that does not fit what is known.
    """

    def __init__(self, loaded: Loaded, now_us: int, elapsed_time: ElapsedTime) -> None:
        self.accounts = dict(loaded.accounts)
        self.subjects = loaded.subjects
        self.crossed: Sequence[Crossed] = ()
        """Pots of budgets of which a further threshold is spent, once the settlement is stored."""
        self._limit_pots = loaded.limit_pots
        self.works: list[StatementWork | None] = []
        self._known_ids: Collection[str] = ()
        self._left: list[StatementWork] = []
        self.now_us = now_us
        self._elapsed_time = elapsed_time
        pots = {**_quantities(loaded.accounts, loaded.subjects), **loaded.buckets}
        pots |= {key: one.quantity for key, one in loaded.limit_pots.items()}
        self._round = LeaseRound(pots, now_us)

    @property
    def pots(self) -> Mapping[PotKey, Pot]:
        """The pots of these accounts and services, after the statements."""
        return self._round.pots

    @property
    def came_back(self) -> Collection[PotKey]:
        """Pots that got something back."""
        return self._round.came_back

    @property
    def fitting(self) -> Iterable[StatementWork]:
        """The works whose statements fit what is known of their leases, and leases that paid for others."""
        stated = (work for work in self.works if work is not None)
        return chain(stated, (work for work in self._left if work.lease != work.before))

    def take(
        self, statements: Sequence[LeaseStatement], known: Mapping[str, Lease], left: Sequence[Lease] = ()
    ) -> None:
        """Works through the statements.

        Args:
            statements: what nodes state.
            known: the stored leases by id; a lease that is not among them is new.
            left: the open leases of former epochs that may have to pay for these statements.
        """
        self._known_ids = known.keys() | {lease.lease_id for lease in left}
        self.works = [self._work(one, known.get(one.statement.lease_id)) for one in statements]
        self._count_nodes()
        if left:
            self._set_beside(statements, known, left)
        self._round.run(list(self.fitting))
        self.works = [work if work is not None and work.fits else None for work in self.works]
        for account_id, account in self.accounts.items():
            money = self.pots[PotKey.of(account_id, "", PotKind.MONEY)]
            self.accounts[account_id] = replace(account, spent_nanos=money.spent_units, leased_nanos=money.leased_units)

    def _count_nodes(self) -> None:
        """Notes the nodes of each pot, then says how many there are: the same to all of a group, whoever came first."""
        stated = [work for work in self.works if work is not None]
        for work in stated:
            self._elapsed_time.count_nodes(work.lease.pot, work.lease.node)
        for work in stated:
            work.node_count = self._elapsed_time.count_nodes(work.lease.pot, work.lease.node)

    def _set_beside(
        self, statements: Sequence[LeaseStatement], known: Mapping[str, Lease], left: Sequence[Lease]
    ) -> None:
        """Gives each work the leases that pay what its lease consumed beyond its grant."""
        stated = {work.lease.lease_id: work for work in self.works if work is not None}
        self._left = [
            StatementWork(Statement(lease.lease_id), lease, pays=False)
            for lease in left
            if lease.lease_id not in stated
        ]
        beside = stated | {work.lease.lease_id: work for work in self._left}
        for one, work in zip(statements, self.works, strict=True):
            if work is not None and may_overdraw(known.get(work.lease.lease_id), work.statement, one.epoch):
                work.left = [beside[lease.lease_id] for lease in left if stands_beside(lease, work.before, one.epoch)]

    def _work(self, stated: LeaseStatement, known: Lease | None) -> StatementWork | None:
        if stated.limit is not None:
            return self._limit_work(stated, stated.limit, known)
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
        if lease.pot not in self.pots:
            return None
        statement = stated.statement
        if service.deleted and known is None:
            # A new lease on a deleted service is granted nothing; what was consumed on it counts all the same.
            statement = replace(statement, closing=True)
        pays = subject.takes_requests and subject.payers.pays(stated.kind)
        return self._in_work(statement, lease, pays=pays)

    def _limit_work(self, stated: LeaseStatement, limit: LimitPotKey, known: Lease | None) -> StatementWork | None:
        loaded = self._limit_pots.get(PotKey.of_limit(limit, stated.kind))
        if loaded is None:
            return None
        lease = known or Lease(
            lease_id=stated.statement.lease_id,
            node=stated.node,
            epoch=stated.epoch,
            account=limit.account_id,
            service_uid="",
            kind=stated.kind,
            create_us=self.now_us,
            update_us=self.now_us,
            limit=limit,
        )
        statement = loaded.admits(stated.statement, is_known=known is not None)
        if statement is None or (lease.node, lease.limit, lease.kind) != (stated.node, limit, stated.kind):
            return None
        return self._in_work(statement, lease, pays=loaded.is_leasable)

    def _in_work(self, statement: Statement, lease: Lease, *, pays: bool) -> StatementWork:
        return StatementWork(
            statement,
            lease,
            pays,
            recall_waits=self._elapsed_time.awaits_return(lease),
        )

    def trials(self) -> list[Service]:
        """The services whose trials have statements, with their trials after the statements."""
        held: dict[str, int] = {}
        for work in self.fitting:
            if work.lease.kind is PotKind.TRIAL:
                more = work.lease.held_units - work.before.held_units
                held[work.lease.service_uid] = held.get(work.lease.service_uid, 0) + more
        return [self._with_trial(self.subjects[uid].service, more) for uid, more in held.items()]

    def _with_trial(self, service: Service, more_held_tokens: int) -> Service:
        pot = self.pots[PotKey.of(service.account_id, service.uid, PotKind.TRIAL)]
        trial = service.trial
        assert trial is not None
        assert isinstance(pot, Quantity)
        trial = replace(
            trial,
            spent_tokens=pot.spent_units,
            leased_tokens=pot.leased_units,
            held_tokens=trial.held_tokens + more_held_tokens,
        )
        percents = self.accounts[service.account_id].trial_percents
        trial = replace(trial, told_percent=trial_percent_reached(percents, trial))
        return replace(service, trial=trial)

    def usage(self) -> list[Usage]:
        """The money that each service spent, where it spent any."""
        spent: dict[str, int] = {}
        for work in self.fitting:
            if work.lease.kind is PotKind.MONEY and work.spent_units:
                spent[work.lease.service_uid] = spent.get(work.lease.service_uid, 0) + work.spent_units
        return [
            Usage(service.account_id, service.service_id, service.uid, amount_nanos, service.team)
            for service, amount_nanos in ((self.subjects[uid].service, amount) for uid, amount in spent.items())
        ]

    async def store(self, tx: Transaction) -> None:
        """Stores leases, trials, buckets, limits' pots and ledger lines.

        Accounts and statuses are for `apply_effects`.
        """
        await self._store_leases(tx)
        usage = self.usage()
        if usage:
            self.accounts = await tx.batches.add_usage(self.accounts, usage, self.now_us)
        await tx.batches.save_trials(self.trials())
        touched = {work.lease.pot for work in self.fitting}
        await tx.batches.save_buckets(
            {key: pot for key, pot in self.pots.items() if key in touched and isinstance(pot, Bucket)}
        )
        of_limits = {key: loaded for key, loaded in self._limit_pots.items() if key in touched}
        if of_limits:
            budgets = {key: loaded for key, loaded in of_limits.items() if isinstance(loaded, LoadedPot)}
            self.crossed = await store_pots(tx, budgets, self.pots)
            rules = {key: loaded for key, loaded in of_limits.items() if isinstance(loaded, LoadedRule)}
            await store_rule_pots(tx, rules, self.pots)

    async def _store_leases(self, tx: Transaction) -> None:
        """Stores the leases that have changed; most of them in their counters alone."""
        changed = [work for work in self.fitting if work.is_changed or work.lease.lease_id not in self._known_ids]
        counted = {
            work.lease.lease_id for work in changed if work.has_counted_only and work.lease.lease_id in self._known_ids
        }
        await tx.leases.put(
            [
                NamedLease(work.lease, self._service_id(work.lease))
                for work in changed
                if work.lease.lease_id not in counted
            ]
        )
        await tx.leases.save_counters([work.lease for work in changed if work.lease.lease_id in counted])

    def _service_id(self, lease: Lease) -> str:
        """The id of the lease's service; empty where it is a slice of a limit's pot."""
        return self.subjects[lease.service_uid].service.service_id if lease.limit is None else ""


def _quantities(accounts: Mapping[str, Account], subjects: Mapping[str, Subject]) -> dict[PotKey, Pot]:
    pots: dict[PotKey, Pot] = {
        PotKey.of(account.account_id, "", PotKind.MONEY): money_of(account) for account in accounts.values()
    }
    for subject in subjects.values():
        trial = subject.service.trial
        if trial is not None:
            key = PotKey.of(subject.service.account_id, subject.service.uid, PotKind.TRIAL)
            pots[key] = trial_of(trial)
    return pots


async def settle(
    tx: Transaction, statements: Sequence[LeaseStatement], now_us: int, elapsed_time: ElapsedTime
) -> Settlement:
    """Locks the accounts of these statements, loads their services, pots and leases, and works through them.

    Nothing is stored yet. Raises StorageUnavailableError.
    """
    account_of = {
        one.statement.lease_id: account_id for one in statements if (account_id := one.account_id) is not None
    }
    account_ids = set(account_of.values())
    accounts = await tx.batches.lock_accounts(account_ids) if account_ids else {}
    services = {(one.account_id, one.service_uid) for one in statements if one.limit is None}
    named = [(account_id, uid) for account_id, uid in services if account_id in accounts]
    subjects = await _subjects(tx, accounts, named, now_us)
    limits = dict.fromkeys(PotKey.of_limit(one.limit, one.kind) for one in statements if one.limit is not None)
    limit_pots = await _limit_pots(tx, [key for key in limits if key.account in accounts], now_us, elapsed_time)
    stored = await _buckets(tx, subjects, statements)
    buckets = {
        key: _rated(elapsed_time.refilled(key, bucket, now_us), subjects[key.service_uid].payers.reserved, key.kind)
        for key, bucket in stored.items()
    }
    settlement = Settlement(Loaded(accounts, subjects, buckets, limit_pots), now_us, elapsed_time)
    keys = [(account_id, lease_id) for lease_id, account_id in account_of.items()]
    known = {lease.lease_id: lease for lease in (await tx.leases.find(keys) if subjects or limit_pots else [])}
    settlement.take(statements, known, await _left_behind(tx, statements, known))
    return settlement


async def _limit_pots(
    tx: Transaction, keys: Collection[PotKey], now_us: int, elapsed_time: ElapsedTime
) -> dict[PotKey, LoadedPot | LoadedRule]:
    """The pots of limits that these statements are about."""
    if not keys:
        return {}
    return {**await load_pots(tx, keys, now_us), **await load_rule_pots(tx, keys, now_us, elapsed_time)}


async def _left_behind(
    tx: Transaction, statements: Sequence[LeaseStatement], known: Mapping[str, Lease]
) -> list[Lease]:
    """The open leases of former epochs on what such statements are about that may need them; hardly ever any."""
    needy = [
        one
        for one in statements
        # Of a rate nothing is left behind: it is forfeited.
        if one.kind is not PotKind.RATE and may_overdraw(known.get(one.statement.lease_id), one.statement, one.epoch)
    ]
    found: list[Lease] = []
    for node, epoch in dict.fromkeys((one.node, one.epoch) for one in needy):
        mine = [one for one in needy if (one.node, one.epoch) == (node, epoch)]
        services = dict.fromkeys(
            (account_id, one.service_uid)
            for one in mine
            if one.limit is None and (account_id := one.account_id) is not None
        )
        limits = dict.fromkeys(one.limit[:2] for one in mine if one.limit is not None)
        found += await tx.leases.left_behind(node, epoch, services, limits)
    return found


async def _subjects(
    tx: Transaction, accounts: Mapping[str, Account], keys: Collection[tuple[str, str]], now_us: int
) -> dict[str, Subject]:
    services = await tx.batches.services(keys)
    with_reservations = [service for service in services if service.reservation_count]
    reservations = await tx.batches.reservations(with_reservations, now_us) if with_reservations else {}
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
            takes_requests=status_of(service, account, in_force, now_us, price_in_force=has_price).status
            in _TAKES_REQUESTS,
        )
    return subjects


async def _buckets(
    tx: Transaction, subjects: Mapping[str, Subject], statements: Sequence[LeaseStatement]
) -> dict[PotKey, Bucket]:
    """The buckets that these statements are about, as they are stored."""
    keys = {
        PotKey.of(subjects[one.service_uid].service.account_id, one.service_uid, one.kind)
        for one in statements
        if one.kind.is_reservation and one.service_uid in subjects
    }
    return await tx.batches.buckets(keys) if keys else {}


def _rated(bucket: Bucket, in_force: Reserved, kind: PotKind) -> Bucket:
    """The bucket at the rate in force: lower than the stored one where a reservation ended just now."""
    rate = in_force.by_kind[kind]
    return bucket.rated(rate) if rate < bucket.rate_tokens_per_minute else bucket
