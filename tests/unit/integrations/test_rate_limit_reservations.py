"""Ids of reservations, and how what was used is shared out over their parts."""

from __future__ import annotations

import pytest

from tallygate.client import Usage
from tallygate.integrations.ratelimit.reservation import Reservation, parse

SERVICE = "accounts/acme/services/chat"


@pytest.mark.parametrize(
    "reservation",
    [Reservation(SERVICE, "r1"), Reservation(SERVICE, "r1", (60, 40)), Reservation(SERVICE, "a#b+1#", (0, 80, 7))],
)
def test_an_id_says_where_a_reservation_is(reservation: Reservation) -> None:
    """Whatever signs its client has put into the request's id. Of one part the tokens do not matter."""
    assert parse(str(reservation)) == reservation


@pytest.mark.parametrize("text", ["", "r1", f"{SERVICE}+some#r1", f"{SERVICE}+-1#r1", f"{SERVICE}+²#r1"])
def test_what_is_no_id_names_no_service(text: str) -> None:
    """The descriptors do then."""
    assert not parse(text).service


@pytest.mark.parametrize(
    ("used", "shares"), [(0, (0, 0)), (59, (59, 0)), (60, (60, 0)), (100, (60, 40)), (101, (60, 41))]
)
def test_each_part_has_what_it_held_and_the_last_one_the_rest(used: int, shares: tuple[int, int]) -> None:
    """Other kinds go with the first."""
    found = Reservation(SERVICE, "r1", (60, 40)).shares(Usage(input_tokens=7, output_tokens=used), "output")
    assert [request_id for request_id, _ in found] == ["r1", "r1.2"]
    assert [usage.output_tokens for _, usage in found] == list(shares)
    assert [usage.input_tokens for _, usage in found] == [7, 0]
