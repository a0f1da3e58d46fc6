"""What is said to whoever makes a budget."""

import pytest

from tallygate.cli.budgets import spent_hint


@pytest.mark.parametrize(
    ("place", "whose"),
    [
        ("accounts/acme", "acme"),
        ("accounts/acme/services/chat", "acme/chat"),
        ("accounts/acme/teams/search", "acme --team search"),
        ("accounts/acme/keys/ci", "acme --by credential"),
    ],
)
def test_the_command_is_said_that_knows_what_was_used_before(place: str, whose: str) -> None:
    """Of the place that the budget hangs on."""
    assert f"`tallygate usage show {whose} --since MOMENT`" in spent_hint(place)
