"""The audit of books: silent on those of running programs, and naming whatever was falsified by hand."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from books_audit import audit as audit_module
from books_audit.audit import Audit
from books_audit.findings import Finding
from tallygate._server.clock import SystemClock
from tallygate._server.database.engine import create_engine
from tests.harness.patience import until_found
from tests.harness.programs.command import Said, tallygate, typed
from tests.harness.programs.one_service import BOTH, SERVICE
from tests.harness.programs.programs import Pair

TRIAL = "accounts/acme/services/trial"
SERVICES = "accounts/acme/services/"
RESERVED = "accounts/acme/services/reserved"


class Falsified(NamedTuple):
    """One book changed by hand: where, how, how it is put right again, and what the audit calls it."""

    database: str
    statement: str
    remedy: str
    rule: str
    subject: str


ONE_ENTRY = "entry_number = (SELECT min(entry_number) FROM ledger_entries WHERE kind = '{}')"
ONE_LEASE = "lease_id = (SELECT min(lease_id) FROM leases WHERE {} AND consumed_units > 0)"
ONE_RECORD = "request_id = (SELECT min(request_id) FROM requests WHERE cost_nanos > 0)"
OF_TRIAL = "WHERE service_id = 'trial'"


def plus_and_minus(place: str, where: str, rule: str, subject: str) -> Falsified:
    """One unit too many in a `database.table.column`."""
    database, table, column = place.split(".")
    one_more, one_less = (f"UPDATE {table} SET {column} = {column} {sign} 1 {where}" for sign in "+-")  # noqa: S608
    return Falsified(database, one_more, one_less, rule, subject)


def falsified() -> Iterator[Falsified]:
    """Every promise once."""
    acme = "accounts/acme"
    top_up, usage = (f"WHERE {ONE_ENTRY.format(kind)}" for kind in ("TOP_UP", "USAGE"))
    yield plus_and_minus("control.ledger_entries.amount_nanos", top_up, "LEDGER", acme)
    yield plus_and_minus("control.ledger_entries.amount_nanos", usage, "LEDGER", acme)
    yield plus_and_minus("control.accounts.leased_nanos", "", "LEASED", f"{acme} MONEY")
    yield plus_and_minus("control.services.trial_leased_tokens", OF_TRIAL, "LEASED", f"{TRIAL} TRIAL")
    yield plus_and_minus("control.rate_buckets.leased_units", "", "LEASED", f"{RESERVED} RESERVATION_INPUT")
    yield plus_and_minus("control.services.trial_spent_tokens", OF_TRIAL, "USAGE", TRIAL)
    more = "trial_quota_tokens + trial_leased_tokens + 1"
    spent = "UPDATE services SET trial_spent_tokens = trial_spent_tokens {} ({}) WHERE service_id = 'trial'"
    yield Falsified("control", spent.format("+", more), spent.format("-", more), "SPENT", f"{TRIAL} TRIAL")
    level = "UPDATE rate_buckets SET level_micro = level_micro {} 60000000000000 WHERE kind = 'RESERVATION_OUTPUT'"
    yield Falsified("control", level.format("+"), level.format("-"), "RATE", "RESERVATION_OUTPUT")
    suspend = "UPDATE services SET suspended = {} WHERE service_id = 'trial'"
    yield Falsified("control", suspend.format("true"), suspend.format("false"), "STATUS", TRIAL)
    one = "WHERE " + ONE_LEASE.format("kind = 'MONEY'")
    yield plus_and_minus("control.leases.consumed_units", one, "SETTLEMENT", SERVICES)
    yield plus_and_minus("metering.requests.cost_nanos", f"WHERE {ONE_RECORD}", "AGGREGATES", SERVICES)
    for column in ("overrun_tokens", "unfunded_tokens", "debt_nanos"):
        where = f"WHERE service = '{SERVICE}' AND cost_nanos > 0"
        yield plus_and_minus(f"metering.minute_usage.{column}", where, "AGGREGATES", SERVICE)
    one = "WHERE " + ONE_LEASE.format("pot_kind = 'money'")
    yield plus_and_minus("metering.leases.consumed_units", one, "USAGE", SERVICES)


def run(pair: Pair, *commands: str) -> None:
    """Commands, one after the other, each of which must succeed."""
    for command in commands:
        said = typed(*command.split(), "--control", pair.control.address)
        assert said.status == 0, said.err


def audit(pair: Pair, *options: str) -> Said:
    """The command, on the databases of a pair."""
    urls = ("--control-database-url", pair.control_database_url, "--metering-database-url", pair.metering_database_url)
    return tallygate("audit-books", *urls, "--json", *options)


async def is_silent(pair: Pair) -> bool:
    """Whether nothing is found; books that are written are looked at a second time, and may still be ahead."""
    said = await asyncio.to_thread(audit, pair)
    return (said.status, said.json["findings"]) == (0, [])


async def replayed(pair: Pair, service: str) -> None:
    """Traffic of a moment."""
    options = ("--metering", pair.metering.address, "--servers", "4", "--requests", "60", "--json")
    said = await asyncio.to_thread(
        tallygate, "replay", "--service", service, "--control", pair.control.address, *options
    )
    assert said.json["reconciled"], said.out


async def findings(engines: dict[str, AsyncEngine]) -> list[Finding]:
    """All that is found in these databases."""
    found = Audit(engines["control"], engines["metering"], SystemClock()).run()
    return [finding async for step in found for finding in step.findings]


@BOTH
async def test_every_falsified_book_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Books of running programs add up, also while they are written; one that is changed by hand is found."""
    await asyncio.to_thread(
        run,
        pair,
        "model create llama --trial-tokens 30000 --reserved-input 0 --reserved-output 0",
        "model publish-price llama --input 0.20 --output 0.60",
        "account create acme",
        "account top-up acme --amount 100",
        "service enable-postpaid acme/default-llama",
        "service create acme/trial --model llama",
        "service claim-trial acme/trial",
        "service enable-postpaid acme/trial",
        "service create acme/reserved --model llama",
        "service reserve acme/reserved --input-tpm 1000 --output-tpm 1000 --days 1",
    )
    playing = asyncio.gather(*(replayed(pair, f"acme/{name}") for name in ("default-llama", "trial", "reserved")))
    for _ in range(2):
        await until_found(lambda: is_silent(pair))
    await playing
    await pair.stop()

    monkeypatch.setattr(audit_module, "RETRY_S", 0)
    engines = {
        "control": create_engine(pair.control_database_url),
        "metering": create_engine(pair.metering_database_url),
    }
    try:
        assert await findings(engines) == []
        for case in falsified():
            for statement, is_false in ((case.statement, True), (case.remedy, False)):
                async with engines[case.database].begin() as connection:
                    assert (await connection.execute(text(statement))).rowcount > 0, case
                found = [(each.rule, each.subject) for each in await findings(engines)]
                named = any(rule == case.rule and case.subject in subject for rule, subject in found)
                assert named if is_false else not found, (case, found)
    finally:
        for engine in engines.values():
            await engine.dispose()


def test_what_cannot_be_audited_is_said_in_a_sentence(tmp_path: Path) -> None:
    """No database is made where there is none."""
    said = tallygate("audit-books", "--data-dir", str(tmp_path / "nowhere"))
    assert (said.status, said.out) == (1, "")
    assert "There is no database" in said.err
    assert not (tmp_path / "nowhere").exists()


def test_a_postgresql_that_lets_nobody_in_is_said_in_a_sentence(tmp_path: Path, postgres_url: str) -> None:
    """As the services say it: which database, and why."""
    (tmp_path / "metering.sqlite3").touch()
    url = make_url(postgres_url).set(database="no_such_books").render_as_string(hide_password=False)
    said = tallygate("audit-books", "--data-dir", str(tmp_path), "--control-database-url", url)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith('error: The database "no_such_books" at ')
    assert said.err.endswith('cannot be used (database "no_such_books" does not exist).\n')
