"""The dictionaries of a what-if keep what the real storage keeps: control says the same to a node on both.

Between them the settings have every payer run out, every kind of limit refuse, and two services short of one balance.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from control_service.domain.errors import ResourceNotFoundError
from control_service.storage.database import MIGRATIONS, SqlDatabase
from control_service.storage.glance import glance_of, query
from control_service.usecases.ports import Database
from control_service.usecases.pulse_ports import Glance
from metering_service.domain.counts import Counts
from tallygate.whatif.control import Control
from tallygate.whatif.memory.database import MemoryDatabase
from tallygate.whatif.outcome import Outcome
from tallygate.whatif.run import what_if
from tallygate.whatif.settings import Settings, read_settings
from tallygate.whatif.workload import SECOND_US, Job, Workload
from tests.simulation.database import SimulatedDatabase

PRICES = """
[services.chat.prices]
input = 1
cached_input = 0.25
output = 3
[services.big]
serves = ["big"]
postpaid = true
[services.big.prices]
input = 2
output = 9
[services.chat.reservation_prices]
input = 0.01
output = 0.02
"""
SETTINGS = {
    "a trial, and a balance that ends": """
balance = 0.02
overdue_floor = 0.001
[services.chat]
postpaid = true
[services.big.trial]
tokens = 9_000
days = 30
""",
    "funded services go on, on credit": """
balance = 0.01
credit_limit = 0.004
overdue_policy = "keep-funded"
[services.chat]
postpaid = true
[services.chat.trial]
tokens = 20_000
days = 1
""",
    "a reservation that bills, and limits": """
balance = 5
rate_rules = [
    { metric = "requests", limit = 9, service = "big" },
    { metric = "tokens", limit = 2_000, dry_run = true },
]
budgets = [
    { tokens = 15_000, every = "day", service = "big" },
    { money = 0.002, soft = true },
]
[[services.chat.reservations]]
input_tpm = 900
output_tpm = 90
days = 1
""",
    "a reservation that refuses, and money a day": """
balance = 5
budgets = [{ money = 0.009, every = "day" }]
[[services.chat.reservations]]
input_tpm = 600
output_tpm = 60
days = 1
overflow = "refuse"
""",
}


class RowsInMemory(SqlDatabase):
    """The real storage, on SQLite without threads."""

    def __init__(self, simulated: SimulatedDatabase) -> None:
        super().__init__(simulated.engine)
        self._simulated = simulated

    @override
    def stamp(self) -> int:
        return self._simulated.changes

    @override
    async def glance(self) -> Glance:
        return glance_of([*map(tuple, self._simulated.rows(query(self._simulated.dialect)))])


def _workload() -> Workload:
    """Bursts of requests for both services on two days."""
    source, jobs, at_us = random.Random(7), [], 0
    for number in range(90):
        at_us += source.choice((40_000, 300_000, 2 * SECOND_US, 9 * SECOND_US))
        if number == 60:
            at_us += 86_400 * SECOND_US
        kinds = source.randrange(40, 900), source.randrange(200), 0, source.randrange(1, 160), source.randrange(9)
        jobs.append(Job(at_us, source.choice(("chat", "big")), Counts(*kinds)))
    return Workload(jobs)


def _run(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, list[Any]]:
    """What comes of it, and all that control said meanwhile."""
    said: list[Any] = []
    for name in ("exchange", "updates"):
        method = getattr(Control, name)

        async def listen(*arguments: Any, method: Any = method) -> Any:
            said.append(await method(*arguments))
            return said[-1]

        monkeypatch.setattr(Control, name, listen)
    outcome = asyncio.run(what_if(_workload(), settings, database))
    monkeypatch.undo()
    return outcome, said


@pytest.mark.parametrize("name", SETTINGS)
def test_control_says_the_same_as_on_rows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer to an exchange, each configuration, and the outcome to the minute."""
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS[name] + PRICES)
    settings = read_settings(path)
    simulated = SimulatedDatabase(MIGRATIONS, lambda: None)
    outcome, said = _run(settings, RowsInMemory(simulated), monkeypatch)
    simulated.close()
    assert _run(settings, MemoryDatabase(), monkeypatch) == (outcome, said)
    assert sum(sum(service.denials.values()) for service in outcome.services.values()) > 0


async def test_a_transaction_that_failed_is_the_last() -> None:
    """What it did is not undone, so nothing is worked out from it."""
    database = MemoryDatabase()
    with pytest.raises(ResourceNotFoundError):
        async with database.writing() as tx:
            await tx.accounts.get("nobody")
    with pytest.raises(RuntimeError, match="an earlier transaction"):
        async with database.reading() as tx:
            pass
