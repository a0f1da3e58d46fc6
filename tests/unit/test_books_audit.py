"""The audit of the books says what it finds each time that it looks: others may write meanwhile."""

from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from books_audit import audit
from books_audit.findings import Finding, Rule
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine

ONE, OTHER, THIRD = (Finding(rule, "accounts/acme", "") for rule in (Rule.LEDGER, Rule.SPENT, Rule.STATUS))
SILENT: Final[list[Finding]] = []


class Looks(audit.Audit):
    """Finds in an account what it is told; `looks`: what each look finds."""

    def __init__(self, directory: Path, looks: list[list[Finding]]) -> None:
        engine = create_engine(f"sqlite:///{directory / 'unused.sqlite3'}")
        super().__init__(engine, engine, ManualClock(), "acme")
        self.looks = looks

    @override
    async def _account(self, account_id: str) -> list[Finding]:
        return self.looks.pop(0)


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([SILENT], ()),
        ([[ONE], SILENT], ()),
        ([[ONE, OTHER], [OTHER, THIRD], [OTHER, ONE]], (OTHER,)),
        ([[ONE], [ONE], [OTHER]], ()),
    ],
)
async def test_only_what_is_found_each_time_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[list[Finding]], said: tuple[Finding, ...]
) -> None:
    """What is gone at the next look was a moment between two transactions, and what is new may be one."""
    monkeypatch.setattr(audit, "RETRY_S", 0)
    looking = Looks(tmp_path, looks)
    step = await anext(looking.run())
    assert (step.subject, step.findings) == ("accounts/acme", said)
    assert not looking.looks
