"""Whose usage an answer has."""

import pytest

from metering_service.domain.usage_scope import WHOLE_SCOPE, UsageScope
from tallygate._access.rights import SEES_ALL, Sight

CHAT, STRANGER = "accounts/acme/services/chat", "accounts/acme-2/services/chat"
RED, BLUE = ("acme", "red"), ("acme", "blue")


@pytest.mark.parametrize(
    ("sight", "asked", "teams"),
    [
        (SEES_ALL, None, None),
        (SEES_ALL, {"red", ""}, {"red", ""}),
        (Sight(account_ids=frozenset({"acme"})), None, None),
        (Sight(account_ids=frozenset({"acme"})), {"red"}, {"red"}),
        (Sight(account_ids=frozenset({"acme"}), teams=frozenset({RED})), None, None),
        (Sight(teams=frozenset({RED, BLUE})), None, {"red", "blue"}),
        (Sight(teams=frozenset({RED, BLUE})), {"red", "green", ""}, {"red"}),
        (Sight(teams=frozenset({RED})), {"blue"}, set()),
        (Sight(account_ids=frozenset({"acme-2"}), teams=frozenset({("acme-2", "red")})), None, set()),
        (Sight(), None, set()),
    ],
)
def test_an_answer_has_what_is_asked_for_and_seen(sight: Sight, asked: set[str] | None, teams: set[str] | None) -> None:
    """None is the whole account; the name of a service stands for its account."""
    scope = UsageScope(sight, None if asked is None else frozenset(asked))
    assert scope.teams_of(CHAT) == scope.teams_of("accounts/acme") == teams


def test_a_role_on_one_account_shows_nothing_of_another() -> None:
    """Also where its name begins with the other's, and has teams of the same names."""
    scope = UsageScope(Sight(account_ids=frozenset({"acme"}), teams=frozenset({RED})))
    assert scope.teams_of(STRANGER) == frozenset()
    assert WHOLE_SCOPE.teams_of(STRANGER) is None
