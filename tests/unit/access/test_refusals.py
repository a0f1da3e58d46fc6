"""Refusals are counted by who, what and why in a minute, and a flood of them stays small."""

import itertools
from dataclasses import replace

import pytest

from tallygate._access.refusals import MINUTE_US, PROVED_MAX, UNPROVED_MAX, RefusalCounts, RefusedCalls

ANNA = RefusedCalls(7 * MINUTE_US + 5, "person:anna", "192.0.2.1", "a.B/C", "PERMISSION_DENIED", resource="accounts/b")
NOBODY = replace(ANNA, principal="", reason="CREDENTIAL_MISSING")


def told(counts: RefusalCounts) -> dict[tuple[str, str], int]:
    return {(one.principal or one.peer, one.reason): one.call_count for one in counts.untold(100_000)}


def test_a_flood_is_one_count() -> None:
    """Ten thousand calls cost one line, which says of the first what was asked."""
    counts, asked = RefusalCounts(), itertools.count()
    for number in range(10_000):
        counts.note(replace(ANNA, first_us=ANNA.first_us + number), lambda: f"asked {next(asked)}")
    assert counts.untold(10) == [replace(ANNA, request_json="asked 0", call_count=10_000)]
    assert next(asked) == 1


def test_each_who_and_why_is_a_count_of_its_own() -> None:
    """A principal is one wherever it calls from; whoever proved nothing is an address."""
    counts = RefusalCounts()
    for calls in (ANNA, replace(ANNA, peer="192.0.2.9"), replace(ANNA, reason="RESOURCE_NOT_FOUND"), NOBODY):
        counts.note(calls)
    counts.note(replace(NOBODY, peer="192.0.2.9"))
    assert told(counts) == {
        ("person:anna", "PERMISSION_DENIED"): 2,
        ("person:anna", "RESOURCE_NOT_FOUND"): 1,
        ("192.0.2.1", "CREDENTIAL_MISSING"): 1,
        ("192.0.2.9", "CREDENTIAL_MISSING"): 1,
    }


def test_what_was_told_is_told_again_only_when_it_has_grown() -> None:
    """As a level: whoever wrote it down writes the greater one over it. What came meanwhile is not lost."""
    counts = RefusalCounts()
    counts.note(ANNA)
    written = counts.untold(10)
    counts.note(ANNA)
    counts.tell(written)
    assert [one.call_count for one in counts.untold(10)] == [2]
    counts.tell(counts.untold(10))
    assert counts.untold(10) == []
    counts.note(ANNA)
    assert [one.call_count for one in counts.untold(10)] == [3]


def test_a_new_minute_is_a_new_count() -> None:
    """What was told of the one before is forgotten, and what was not is kept until it is."""
    counts = RefusalCounts()
    counts.note(ANNA)
    counts.note(NOBODY)
    counts.tell(counts.untold(1))
    later = replace(ANNA, first_us=ANNA.first_us + MINUTE_US)
    counts.note(later)
    assert counts.untold(10) == [NOBODY, later]
    counts.tell(counts.untold(10))
    counts.note(replace(later, first_us=later.first_us + MINUTE_US))
    assert len(counts.untold(10)) == 1


@pytest.mark.parametrize(
    ("first", "maximum", "other"), [(ANNA, PROVED_MAX, "OTHER"), (NOBODY, UNPROVED_MAX, "CREDENTIAL_OTHER")]
)
def test_too_many_are_counted_together(first: RefusedCalls, maximum: int, other: str) -> None:
    """Beyond the maximum one line counts all the rest of a minute."""
    counts = RefusalCounts()
    for number in range(maximum + 50):
        counts.note(replace(first, principal=first.principal and f"person:{number}", peer=f"peer {number}"))
    found = counts.untold(2 * maximum)
    assert len(found) == maximum + 1
    assert (found[-1].reason, found[-1].method, found[-1].call_count) == (other, "OTHER", 50)


def test_nobody_hides_what_principals_do() -> None:
    """However many addresses prove nothing, a principal's refusal is still a line of its own."""
    counts = RefusalCounts()
    for number in range(2 * PROVED_MAX):
        counts.note(replace(NOBODY, peer=f"peer {number}"))
    counts.note(ANNA)
    assert told(counts)["person:anna", "PERMISSION_DENIED"] == 1
    assert len(counts.untold(3 * PROVED_MAX)) == UNPROVED_MAX + 2


def test_each_account_has_counts_of_its_own() -> None:
    """So that an owner is told what was refused there, and not how often something was refused elsewhere."""
    counts = RefusalCounts()
    for account_id in ("a", "b", "a"):
        counts.note(replace(ANNA, account_id=account_id))
    assert {(one.account_id, one.call_count) for one in counts.untold(10)} == {("a", 2), ("b", 1)}
