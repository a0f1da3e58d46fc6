"""All the books of a fleet at rest, compared to the token and the nano with what its servers know."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import text

from tallygate._server.database.engine import create_engine, read_only
from tests.torture.budgets import PAYERS, wrong_pots
from tests.torture.load import Truth

AGGREGATED = "reserved_tokens + trial_tokens + billed_tokens + unfunded_tokens"


@dataclass(slots=True)
class Findings:
    """Tokens but where nanos are said; `pots` of budgets are a number. Of `wrong` each is a sentence."""

    reported_tokens: int = 0
    recorded_tokens: int = 0
    lost_tokens: int = 0
    twice_tokens: int = 0
    overrun_tokens: int = 0
    pots: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: bool, sentence: str) -> None:
        """Notes what does not hold."""
        if not holds:
            self.wrong.append(sentence)


async def compare(control_url: str, metering_url: str, truths: Mapping[str, Truth]) -> Findings:
    """Reads both databases from outside; everything must have stopped."""
    found = Findings(reported_tokens=sum(truth.reported_tokens for truth in truths.values()))
    metering, control = create_engine(metering_url), create_engine(control_url)
    try:
        async with read_only(metering) as connection:
            records = [dict(row) for row in (await connection.execute(text("SELECT * FROM requests"))).mappings()]
            cells = (
                await connection.execute(
                    text(f"SELECT sum({AGGREGATED}), sum(cost_nanos), sum(overrun_tokens) FROM minute_usage")  # noqa: S608
                )
            ).one()
            consumed: dict[str, int] = dict(
                (await connection.execute(text("SELECT lease_id, consumed_units FROM leases"))).tuples().all()
            )
        async with read_only(control) as connection:
            leases = [dict(row) for row in (await connection.execute(text("SELECT * FROM leases"))).mappings()]
            accounts = [dict(row) for row in (await connection.execute(text("SELECT * FROM accounts"))).mappings()]
            pots = [dict(row) for row in (await connection.execute(text("SELECT * FROM limit_pots"))).mappings()]
            of_pots = [dict(row) for row in (await connection.execute(text("SELECT * FROM budgets"))).mappings()]
            ledger: dict[str, int] = dict(
                (
                    await connection.execute(
                        text(
                            "SELECT account_id, -sum(amount_nanos) FROM ledger_entries WHERE kind = 'USAGE' GROUP BY 1"
                        )
                    )
                )
                .tuples()
                .all()
            )
    finally:
        await metering.dispose()
        await control.dispose()
    _compare_requests(found, records, truths)
    cost = sum(record["cost_nanos"] for record in records)
    found.overrun_tokens = sum(record["overrun_tokens"] for record in records)
    sums = (found.recorded_tokens, cost, found.overrun_tokens)
    found.check(tuple(int(each or 0) for each in cells) == sums, f"Aggregates have {tuple(cells)}, records {sums}.")
    known = {lease["lease_id"]: lease["consumed_units"] for lease in leases}
    for lease_id, units in consumed.items():
        found.check(known.get(lease_id, 0) == units, f"Of lease {lease_id} {units} were consumed, control has others.")
    spent = sum(account["spent_nanos"] for account in accounts)
    found.check(spent == cost, f"Accounts spent {spent} nanos, records cost {cost}.")
    found.check(sum(ledger.values()) == spent, f"The ledger has {sum(ledger.values())} nanos, accounts spent {spent}.")
    _compare_money(found, accounts, sum(record["debt_nanos"] for record in records))
    found.pots = len(pots)
    found.wrong += wrong_pots(of_pots, pots, records)
    stuck = [lease["lease_id"] for lease in leases if not lease["closed"]]
    found.check(not stuck, f"{len(stuck)} leases are never closed, first {stuck[:1]}.")
    return found


def _compare_requests(found: Findings, records: list[dict[str, object]], truths: Mapping[str, Truth]) -> None:
    booked: dict[str, int] = defaultdict(int)
    for record in records:
        tokens = sum(sum(json.loads(str(record[payer]))) for payer in PAYERS)
        booked[str(record["request_id"])] += tokens
        found.recorded_tokens += tokens
        found.check(record["state"] != "open", f"Request {record['request_id']} is open for ever.")
    for request_id, truth in truths.items():
        tokens = booked.pop(request_id, 0)
        found.lost_tokens += max(0, truth.reported_tokens - tokens) if truth.durable else 0
        found.twice_tokens += max(0, tokens - truth.reported_tokens)
    found.twice_tokens += sum(booked.values())
    found.check(found.lost_tokens == 0, f"{found.lost_tokens} tokens are lost.")
    found.check(found.twice_tokens == 0, f"{found.twice_tokens} tokens are counted that nobody reported.")


def _compare_money(found: Findings, accounts: list[dict[str, int]], debt_nanos: int) -> None:
    for account in accounts:
        over = account["spent_nanos"] - account["funds_nanos"] - account["credit_limit_nanos"]
        found.check(over <= debt_nanos, f"{account['account_id']} is {over} nanos over, with {debt_nanos} of debt.")
        found.check(account["leased_nanos"] == 0, f"{account['leased_nanos']} nanos never came back.")
