"""Counts of running requests, many to a page."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from metering_service.domain.counts import Counts
from metering_service.domain.counts_page import counts_at, page_of
from tests.harness.metering.pages import Pages as PagesInMemory

KINDS = st.tuples(*[st.integers(0, 2**62)] * 5)


class Pages(RuleBasedStateMachine):
    """What a reader of committed pages finds at each place that somebody has, against a plain dictionary."""

    places = Bundle("places")

    def __init__(self) -> None:
        super().__init__()
        self.pages = PagesInMemory()
        self.written: dict[int, Counts] = {}
        self.ended: set[int] = set()
        self.committed: dict[int, bytes] = {}

    @rule(target=places)
    def take(self) -> int:
        place = self.pages.take()
        assert place not in self.written
        assert place not in self.ended
        return place

    @rule(place=places, kinds=KINDS)
    def write(self, place: int, kinds: tuple[int, ...]) -> None:
        self.pages.write(place, kinds)
        self.written[place] = Counts(*kinds)

    @rule(place=consumes(places))
    def give_back(self, place: int) -> None:
        self.pages.give_back(place)
        self.written.pop(place, None)
        self.ended.add(place)

    @rule()
    def commit(self) -> None:
        changed = self.pages.take_changed()
        self.committed.update(changed)
        for place, counts in self.written.items():
            assert counts_at(self.committed.get(page_of(place)), place) == counts
        assert self.pages.take_changed() == []

    @invariant()
    def is_known(self) -> None:
        assert all(self.pages.has(place) for place in self.written)


TestPages = Pages.TestCase


def test_a_place_that_nobody_wrote_to_has_no_counts() -> None:
    """Nor has one whose slot somebody else had, and nor has a missing page."""
    pages = PagesInMemory()
    first = pages.take()
    assert not pages.has(first)
    assert counts_at(None, first) is None
    assert counts_at(b"", None) is None
    pages.write(first, (1, 2, 3, 4, 5))
    pages.give_back(first)
    second = pages.take()
    assert page_of(first) == page_of(second)
    assert not pages.has(second)
    ((_, data),) = pages.take_changed()
    assert counts_at(data, second) is None
    assert counts_at(data, first) == Counts(1, 2, 3, 4, 5)


def test_so_many_share_a_page() -> None:
    """The 65th begins another one; only pages that changed are committed."""
    pages = PagesInMemory()
    places = [pages.take() for _ in range(65)]
    assert [page_of(place) for place in places] == [0] * 64 + [1]
    for place in places:
        pages.write(place, (1, 0, 0, 0, 0))
    assert [page.page for page in pages.take_changed()] == [0, 1]
    pages.write(places[64], (2, 0, 0, 0, 0))
    assert [page.page for page in pages.take_changed()] == [1]
