"""The demo."""

from __future__ import annotations

from tests.harness.programs.command import tallygate


def test_the_demo_tells_its_story_to_the_end() -> None:
    """From a denied request to reserved capacity, in order, with books that agree."""
    said = tallygate("demo", "--fast")

    assert said.status == 0, said.out + said.err
    places = [said.out.find(word) for word in ("NOT_ENABLED", "FREE_TRIAL", "ACCOUNT_OVERDUE", "TPM_RESERVATION")]
    assert -1 not in places
    assert places == sorted(places)
    assert "every one of them accounted for" in said.out
    # What is written to a file has no terminal's width, and lines are drawn all the same.
    assert "─" * 101 not in said.out
