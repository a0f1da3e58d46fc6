"""Several settings side by side: in processes of their own they come to the same as one after the other."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from metering_service.domain.counts import Counts
from tallygate.whatif import compare as room
from tallygate.whatif.compare import compare
from tallygate.whatif.settings import Settings, read_settings
from tallygate.whatif.toml_table import SettingsError
from tallygate.whatif.workload import SECOND_US, Job, Workload

CHAT = "balance = 1\n[services.chat]\npostpaid = true\n[services.chat.prices]\ninput = 1\noutput = 2\n"
WORKLOAD = Workload([Job(at * SECOND_US, "t", Counts(input=100, output=10)) for at in range(5)])


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors, and a workload for which another process pays."""
    monkeypatch.setattr(room, "ALONE_BELOW", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_processes_change_nothing(apart: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes are in the order of the settings, though the one that says most is begun first; each is told of."""
    paths = [tmp_path / "few.toml", tmp_path / "more.toml"]
    paths[0].write_text(CHAT)
    paths[1].write_text(CHAT + "[[budgets]]\ntokens = 300\n[[rate_rules]]\nmetric = 'requests'\nlimit = 3\n")
    several, told = [read_settings(path) for path in paths], list[str]()

    outcomes = compare(WORKLOAD, several, told.append)

    assert [outcome.settings for outcome in outcomes] == ["few", "more"]
    assert sorted(told) == ["few", "more"]
    monkeypatch.setattr(room, "ALONE_BELOW", len(WORKLOAD.jobs) + 1)
    assert compare(WORKLOAD, several) == outcomes
    assert outcomes[0] != outcomes[1]


def test_what_is_refused_is_said_before_anything_is_worked_out(tmp_path: Path) -> None:
    """However long the settings before it would take."""
    good, bad, told = tmp_path / "good.toml", tmp_path / "bad.toml", list[str]()
    good.write_text(CHAT)
    bad.write_text(CHAT + "[services.chat.trial]\ntokens = 5\n")
    with pytest.raises(SettingsError, match=r"bad\.toml: CreateModel is refused"):
        compare(WORKLOAD, [read_settings(good), read_settings(bad)], told.append)
    assert not told


def what_an_interrupt_does(_workload: Workload, _settings: Settings) -> object:
    """In the process that it is called in."""
    return signal.getsignal(signal.SIGINT)


def test_an_interrupt_ends_each_process(apart: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not only what it is at, or it would go on with the next settings."""
    (tmp_path / "s.toml").write_text(CHAT)
    monkeypatch.setattr(room, "_run", what_an_interrupt_does)
    found: list[Any] = compare(WORKLOAD, [read_settings(tmp_path / "s.toml")] * 2)
    assert found == [signal.SIG_DFL, signal.SIG_DFL]
