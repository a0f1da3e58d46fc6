"""Settings of a what-if: what is mistyped or contradicts itself is refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from metering_service.domain.counts import Counts
from tallygate.whatif.compare import compare
from tallygate.whatif.settings import Settings, read_settings
from tallygate.whatif.toml_table import SettingsError
from tallygate.whatif.workload import Job, Workload

CHAT = "[services.chat]\npostpaid = true\n[services.chat.prices]\ninput = 0.2\noutput = 0.6\n"


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return read_settings(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("balanse = 1\n" + CHAT, 'there is no setting "balanse" outside of all tables; did you mean "balance"?'),
        (CHAT + "outpt = 1\n", 'there is no setting "outpt" in [services.chat.prices]; did you mean "output"?'),
        (CHAT + "[services.chat.trail]\ntokens = 5\n", 'there is no setting "trail" in [services.chat]; did you mean'),
        (CHAT + "[services.chat.trial]\ntokens = 50\nxyzzy = 1\n", "in [services.chat.trial]; there are days, tokens"),
        (CHAT + "[services.chat.trial]\ndays = 5\n", "services.chat.trial.tokens is missing"),
        ("balance = '1'\n" + CHAT, "balance must be an amount, as 12.50"),
        ("balance = -1\n" + CHAT, "balance must be an amount from 0"),
        ("balance = 0.0000000001\n" + CHAT, "with at most 9 decimals"),
        ("balance = inf\n" + CHAT, "balance must be an amount from 0"),
        ("balance = 1e99\n" + CHAT, "balance must be an amount from 0"),
        ("balance = true\n" + CHAT, "balance must be an amount, as 12.50"),
        ("overdue_policy = 'stop-al'\n" + CHAT, 'must be one of stop-all, keep-funded; did you mean "stop-all"?'),
        ("", "there is no service; begin one with [services.chat]"),
        ("services = 3", "services must be a table"),
        ("a = [", "is not TOML"),
        (
            CHAT + "[[services.chat.reservations]]\ninput_tpm = 1\ndays = 99999\n",
            "reservations[1].days must be from 0 to",
        ),
        (CHAT + "[services.other]\n", "chat and other both serve all that is left"),
        ("[services.a]\nserves = ['x']\n[services.b]\nserves = ['x']\n", '"x" is served by two services'),
        (CHAT + "[[budgets]]\nservice = 'chat'\n", "budgets[1].tokens or money must be said"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    """One sentence with the file and the setting; the nearest name where one is mistyped."""
    with pytest.raises(SettingsError) as error:
        read(tmp_path, text)
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "s.toml"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (CHAT + "[services.chat.trial]\ntokens = 5\n", "CreateModel is refused"),
        (CHAT + "[[services.chat.reservations]]\ninput_tpm = 1\ndays = 1\n", "sells no reserved capacity"),
        (CHAT.replace("chat", "Chat"), "CreateModel is refused"),
        ("[services.chat]\npostpaid = true\n", "has no price in force"),
        (CHAT + "[[rate_rules]]\nmetric = 'requests'\nlimit = 0\n", "limit_units: must be at least 1"),
        (CHAT + "[[rate_rules]]\nlimit = 1\n", "metric"),
        (CHAT + "[[budgets]]\ntokens = 1\nevery = 'day'\nzone = 'Mars/Olympus'\n", "IANA time zone"),
        (CHAT + "[[budgets]]\ntokens = 1\nservice = 'none'\n", "accounts/what-if/services/none"),
        ("[services.chat]\nserves = ['GPT-4']\n", 'no service serves "ChatGPT"'),
    ],
)
def test_what_control_refuses_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    """Bounds and contradictions are the control service's to find, in its own words."""
    settings = read(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        compare(Workload([Job(0, "ChatGPT", Counts(1, output=1))]), [settings])
    assert sentence in str(error.value)


def test_amounts_are_exact(tmp_path: Path) -> None:
    """No binary fraction is between the file and the nanos."""
    settings = read(tmp_path, "balance = 0.1\n" + CHAT.replace("0.2", "0.123456789"))
    price = settings.services[0].price
    assert price is not None
    assert price.input_nanos_per_million_tokens == 123_456_789
    assert [call.amount_nanos for call in settings.calls if hasattr(call, "amount_nanos")] == [100_000_000]
