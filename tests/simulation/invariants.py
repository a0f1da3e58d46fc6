"""What must always be true, read straight from the databases and from the nodes' memory."""

import json
import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING

from metering_service.domain.counts import Counts, Tally
from metering_service.domain.lease import Lease
from metering_service.domain.pot import PotKind
from metering_service.domain.request import Request
from metering_service.storage.schema import KINDS
from tests.harness.metering.unbooked import kept, unbooked
from tests.simulation import trespasses
from tests.simulation.jobs import BOOKED, Job

if TYPE_CHECKING:
    from metering_service.usecases.node import Node
    from tests.simulation.simulation_harness import World

INDEBTED = ("money", "budget_tokens", "budget_money", "rate")
"""Kinds of pots that may be charged more than they have: by debt, by what was used beyond a hold, by what runs."""
MICRO_PER_TOKEN = 60_000_000
TOKENS = "input_tokens + cached_input_tokens + cache_write_tokens + output_tokens + reasoning_tokens"
OUTSTANDING = "max(0, granted_units - consumed_units - returned_units)"
OVERDRAWN = "max(0, consumed_units + returned_units - granted_units)"


def check_pots(world: "World") -> None:
    """Conservation: leased is what leases have outstanding, spent is what was consumed on them, the ledger agrees."""
    rows, check = world.control.rows, world.check
    leased: dict[tuple[str, str, str], int] = defaultdict(int)
    spent: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in rows(
        f"SELECT account_id, service_uid, kind, sum({OUTSTANDING}) AS leased, sum(consumed_units) AS spent,"  # noqa: S608
        f" sum({OVERDRAWN}) AS overdrawn FROM leases GROUP BY 1, 2, 3"
    ):
        kind = row["kind"].lower()
        key = (row["account_id"], "" if kind == "money" else row["service_uid"], kind)
        leased[key] += row["leased"]
        spent[key] += row["spent"]
        # Only these are ever charged as debt; and control does not know of what it granted after a copy.
        is_excused = kind in INDEBTED or world.people.are_forgotten or world.lost_records
        check(
            is_excused or not row["overdrawn"], f"{key}: {row['overdrawn']} consumed that leases did not have any more"
        )
    usage = {
        row["account_id"]: -row["nanos"]
        for row in rows(
            "SELECT account_id, sum(amount_nanos) nanos FROM ledger_entries WHERE kind = 'USAGE' GROUP BY 1"
        )
    }
    for row in rows("SELECT * FROM accounts"):
        key = (row["account_id"], "", "money")
        check(row["leased_nanos"] == leased[key], f"{key}: leased {row['leased_nanos']}, on leases {leased[key]}")
        check(row["spent_nanos"] == spent[key], f"{key}: spent {row['spent_nanos']}, on leases {spent[key]}")
        check(usage.get(row["account_id"], 0) == spent[key], f"{key}: the ledger has {usage}, leases have {spent[key]}")
    for row in rows("SELECT * FROM services WHERE trial_quota_tokens IS NOT NULL"):
        key = (row["account_id"], row["uid"], "trial")
        check(row["trial_leased_tokens"] == leased[key], f"{key}: leased is not what leases have")
        check(row["trial_spent_tokens"] == spent[key], f"{key}: spent is not what leases have")
        spent_tokens, quota = row["trial_spent_tokens"], row["trial_quota_tokens"]
        # What control was told of, and the metering database forgot, is booked again where servers say it again.
        check(world.lost_records or spent_tokens <= quota, f"{key}: {spent_tokens} spent of {quota}")
    for row in rows("SELECT * FROM rate_buckets"):
        key = (row["account_id"], row["service_uid"], row["kind"].lower())
        check(row["leased_units"] == leased[key], f"{key}: leased is not what leases have")
        check(row["spent_units"] == spent[key], f"{key}: spent is not what leases have")
        available = row["level_micro"] // MICRO_PER_TOKEN
        check(
            available <= max(0, row["rate_tokens_per_minute"] - row["leased_units"]),
            f"{key}: {available} available and {row['leased_units']} leased, at most {row['rate_tokens_per_minute']}",
        )


def check_leases(world: "World") -> None:
    """Control knows of no consumption that the metering database does not have, unless that one was put back."""
    if world.lost_records:
        return
    written = {
        row["lease_id"]: row["consumed_units"]
        for row in world.metering.rows("SELECT lease_id, consumed_units FROM leases")
    }
    for row in world.control.rows(
        # What is held of a rate is spent at once, and not settled through the metering database.
        "SELECT lease_id, node, epoch, kind, consumed_units FROM leases WHERE consumed_units > 0 AND kind <> 'RATE'"
    ):
        consumed = written.get(row["lease_id"], 0)
        world.check(
            row["consumed_units"] <= consumed,
            f"lease {row['lease_id']} of {row['node']}.{row['epoch']} ({row['kind']}): control was told"
            f" {row['consumed_units']} are consumed, {consumed} are on record",
        )


def check_nodes(world: "World") -> None:
    """In every node's memory leases hold what requests hold, and no more than was granted but for what became debt."""
    for process in world.nodes.values():
        if process is None or process.assembly is None or not process.alive:
            continue
        node = process.assembly.node
        for service in node.services.values():
            requests = {*service.open.values(), *service.finished.values()}
            requests |= {request for request, its in node.silent.items() if its.service is service}
            if service.config is not None and service.outage is not None and node.goes_on(service):
                granted, most = service.outage.tokens, service.config.outage_tokens_max
                world.gone_on[process.party.name, service.name] = granted
                world.check(
                    granted <= most, f"{process.party}: {granted} tokens of {service.name} in an outage of {most}"
                )
            for kind, lease in service.leases.items():
                held = sum(unbooked(request)[kind] for request in requests) + kept(node.buffer, service)[kind]
                whose = f"{process.party}: {kind} of {service.name}"
                world.check(lease.held == held, f"{whose} holds {lease.held}, not {held}")
                if lease.granted == 0 and any(old.kind is kind for old in service.draining):
                    world.moved.setdefault(lease.lease_id, lease.held)
                beyond = _debt(world, requests, lease) + world.moved.get(lease.lease_id, 0)
                world.check(lease.free >= -beyond, f"{whose} has {-lease.free} more than was granted")
                held_on = lease.closing and lease.held > 0 and _is_closed(world, lease.lease_id)
                given_up = held_on and not _is_fenced(world, node)
                world.check(not given_up, f"{whose} holds {lease.held} on a lease that it has given up")


def _is_fenced(world: "World", node: "Node") -> bool:
    """Whether another one has settled what it held, and it has slept since and does not know yet: it books nothing."""
    return bool(world.metering.rows("SELECT 1 FROM nodes WHERE node = ? AND epoch > ?", node.name, node.epoch))


def _is_closed(world: "World", lease_id: str) -> bool:
    """Whether control has closed it, and may have lent what was left of it to others."""
    return bool(world.control.rows("SELECT 1 FROM leases WHERE lease_id = ? AND closed", lease_id))


def _debt(world: "World", requests: set[Request], lease: Lease) -> int:
    """What may have been booked on a lease beyond what it had."""
    if lease.free >= 0 or lease.kind is not PotKind.MONEY:
        return 0
    parts = requests | {earlier.part for request in requests for earlier in request.earlier}
    unwritten = sum(part.receipt.debt_nanos for part in parts)
    (written,) = world.metering.rows(
        "SELECT coalesce(sum(debt_nanos), 0) nanos FROM minute_usage WHERE service_uid = ?", lease.service_uid
    )
    return unwritten + int(written["nanos"])


def check_books(world: "World") -> None:
    """At rest: what servers know, request records, minute aggregates, lease totals and control say the same."""
    check, rows = world.check, world.metering.rows
    open_requests = rows("SELECT request_id, part, node, epoch FROM requests WHERE state = 'open'")
    check(not open_requests, f"{len(open_requests)} requests are open for ever, first {_row(open_requests)}")
    _check_jobs(world)
    trespasses.check_records(world)
    _check_costs(world)
    paid = _paid_nanos(world)
    # What people did since the copy is for them to do again.
    check(
        world.people.are_forgotten or paid == dict(world.people.paid_nanos),
        f"the ledger has {paid}, people paid {dict(world.people.paid_nanos)}",
    )
    _check_sums(world)
    check_leases(world)
    told = {row["lease_id"]: row["consumed_units"] for row in world.control.rows("SELECT * FROM leases")}
    rates = {(row["service_uid"], row["kind"].lower()) for row in world.control.rows("SELECT * FROM rate_buckets")}
    for row in rows("SELECT * FROM leases"):
        known, kind = told.get(row["lease_id"], 0), row["pot_kind"]
        # A reservation that was bought after the copy is none that control knows, whoever says what was consumed of it.
        is_forgotten = (
            world.people.are_forgotten and kind.startswith("reservation") and (row["service_uid"], kind) not in rates
        )
        # Of a budget that was deleted before anything of it was on lease there is no pot that could be charged.
        is_gone = kind.startswith("budget") and row["lease_id"] not in told
        check(
            known >= row["consumed_units"] or row["lease_id"] in world.unbooked or is_forgotten or is_gone,
            f"lease {row['lease_id']} of {row['node']}.{row['epoch']} ({row['pot_kind']}): {row['consumed_units']}"
            f" consumed, control was told {known}",
        )
    outstanding = world.control.rows(
        f"SELECT lease_id, node, epoch, kind, {OUTSTANDING} units FROM leases WHERE {OUTSTANDING} > 0"  # noqa: S608
    )
    check(not outstanding, f"{len(outstanding)} leases never come back, first {_row(outstanding)}")
    _check_payers(world)


def _check_sums(world: "World") -> None:
    """Of each service, team and API key. Every service is in a team at any time, so nothing was used by none."""
    sums = "sum(cost_nanos) cost, sum(debt_nanos) debt, sum(overrun_tokens) overrun"
    rows, key = world.metering.rows, ("service_uid", "team", "credential", "key_team")
    columns = ", ".join(key)
    records = rows(
        f"SELECT {columns}, {sums}, count(*) parts, sum({BOOKED}) tokens FROM requests GROUP BY {columns}"  # noqa: S608
    )
    cells = rows(
        f"SELECT {columns}, {sums}, sum(request_count) parts, sum({TOKENS}) tokens"  # noqa: S608
        f" FROM minute_usage GROUP BY {columns}"
    )
    of_cells, of_records = (
        {tuple(row[name] for name in key): dict(row) for row in found} for found in (cells, records)
    )
    for whose in of_cells | of_records:
        cell, record = of_cells.get(whose), of_records.get(whose)
        world.check(cell == record, f"of {whose} aggregates have {cell}, records {record}")
        world.check(bool(whose[1]), f"of {whose} somebody without a team used something: {record}")
    strays = rows("SELECT * FROM minute_denials WHERE team = ''")
    world.check(not strays, f"somebody without a team was denied something: {_row(strays)}")


def _check_jobs(world: "World") -> None:
    booked: dict[tuple[str, str], int] = defaultdict(int)
    exact: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for row in world.metering.rows(f"SELECT *, {BOOKED} AS tokens FROM requests"):  # noqa: S608
        name = row["service"], row["request_id"]
        booked[name] += row["tokens"]
        exact[name] = exact[name].merge(_said_exactly(row))
    for job in [job for server in world.servers for job in server.jobs.values()]:
        name = job.service, job.request_id
        _check_job(world, job, booked.pop(name, 0), exact[name])
    strangers = {name: tokens for name, tokens in booked.items() if tokens}
    world.check(not strangers, f"booked for requests that nobody reported: {strangers}")


def _check_job(world: "World", job: Job, tokens: int, exact: Tally) -> None:
    """What was said exactly, or was settled before that; without it at least what is durable, of each class."""
    who, reported = job.request_id, job.reported.total
    world.check(tokens <= reported, f"{who}: {tokens} tokens booked of {reported} that were reported")
    if job.is_lost:
        return
    if not job.ends_exactly:
        durable = job.acknowledged.total
        world.check(durable <= tokens, f"{who}: {tokens} tokens booked of {durable} that are durable")
    elif job.durable:
        final = job.total_tokens
        most = max(final, job.booked_before_tokens)
        world.check(final <= tokens <= most, f"{who}: {tokens} tokens booked of {final} that were said exactly")
        world.check(
            exact.counts.total == final, f"{who}: {exact.counts.total} on record of {final} that were said exactly"
        )


def _said_exactly(row: sqlite3.Row) -> Tally:
    """What a record has of an exact finish."""
    counts = Counts(*(row[f"{kind}_tokens"] for kind in KINDS))
    ranks = json.loads(row["ranks"])
    if ranks:
        return Tally.from_ranks(counts, tuple(ranks)).only_exact
    return Tally.of(counts, finish=row["state"] == "finished", estimated=bool(row["estimated"])).only_exact


def _check_costs(world: "World") -> None:
    """The exact sum of billed tokens times price, divided once for each part, rounded down.

    Cheaper kinds of the same tokens that a revision reveals take no money back. What has no price is billed to nobody.
    """
    for row in world.metering.rows(
        "SELECT request_id, part, billed, price, price_version, cost_nanos, revision FROM requests"
    ):
        billed, price = json.loads(row["billed"]), json.loads(row["price"])
        cost = sum(tokens * each for tokens, each in zip(billed, price, strict=False)) // 1_000_000
        is_exact = row["cost_nanos"] == cost or (row["revision"] > 1 and row["cost_nanos"] > cost)
        world.check(is_exact, f"{row['request_id']} ({row['part']}): {row['cost_nanos']}, not {cost}")
        world.check(
            row["price_version"] > 0 or not any(billed),
            f"{row['request_id']} ({row['part']}): {sum(billed)} tokens billed without a price",
        )


def _check_payers(world: "World") -> None:
    """Consumption by payer is what receipts say, and no pot is over by more than debt."""
    consumed: dict[tuple[str, str], int] = defaultdict(int)
    for row in world.metering.rows("SELECT service_uid, pot_kind, sum(consumed_units) units FROM leases GROUP BY 1, 2"):
        consumed[row["service_uid"], row["pot_kind"]] += row["units"]
    debts: dict[str, int] = defaultdict(int)
    for row in world.metering.rows(
        "SELECT service, service_uid, sum(cost_nanos) cost, sum(debt_nanos) debt, sum(trial_tokens) trial"
        " FROM minute_usage GROUP BY 1, 2"
    ):
        uid = row["service_uid"]
        debts[row["service"].split("/")[1]] += row["debt"]
        for kind, units in ((PotKind.MONEY, row["cost"]), (PotKind.TRIAL, row["trial"])):
            world.check(
                consumed[uid, kind.value] == units,
                f"{row['service']}: receipts have {units} of {kind}, leases {consumed[uid, kind.value]}",
            )
    paid = _paid_nanos(world)
    for row in world.control.rows("SELECT * FROM accounts"):
        account_id = row["account_id"]
        over = row["spent_nanos"] - row["funds_nanos"] - row["credit_limit_nanos"]
        # What was paid since the copy was spent all the same.
        forgotten = max(0, world.people.paid_nanos[account_id] - paid.get(account_id, 0))
        world.check(
            world.lost_records or over <= debts[account_id] + forgotten,
            f"{account_id}: {over} nanos over its money, {debts[account_id]} of it explained by debt,"
            f" {forgotten} by lost top-ups",
        )


def _paid_nanos(world: "World") -> dict[str, int]:
    """What the ledger has of top-ups, by account."""
    return {
        row["account_id"]: row["nanos"]
        for row in world.control.rows(
            "SELECT account_id, sum(amount_nanos) nanos FROM ledger_entries WHERE kind = 'TOP_UP' GROUP BY 1"
        )
    }


def _row(rows: list) -> dict | None:  # type: ignore[type-arg]
    return dict(rows[0]) if rows else None
