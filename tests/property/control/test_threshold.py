"""Thresholds under arbitrary courses of a level, next to a plain model that remembers each threshold for itself."""

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.threshold import is_less, next_percent, percent_reached, remainder_reached

AMOUNT_MAX = 1_000
percents = st.sets(st.integers(min_value=1, max_value=100), max_size=6)
steps = st.lists(
    st.tuples(st.integers(min_value=0, max_value=AMOUNT_MAX), st.integers(min_value=1, max_value=AMOUNT_MAX)),
    max_size=30,
)
levels = st.lists(st.integers(min_value=-AMOUNT_MAX, max_value=AMOUNT_MAX), max_size=30)


class PlainModel:
    """A flag for each threshold: up once it was crossed, down once the level is back before it."""

    def __init__(self, thresholds: set[int]) -> None:
        self._crossed = dict.fromkeys(thresholds, False)

    def told(self, is_beyond: dict[int, bool], furthest: int | None) -> int | None:
        """The furthest of the thresholds that are crossed now and were not before, if it is the furthest of all."""
        new = {one for one, beyond in is_beyond.items() if beyond and not self._crossed[one]}
        self._crossed = is_beyond
        return furthest if furthest in new else None


@given(percents=percents, steps=steps)
def test_percents_are_told_as_the_plain_model_tells_them(percents: set[int], steps: list[tuple[int, int]]) -> None:
    """Spent grows, the amount goes up and down: the highest crossed is told, alone, once until it is armed again."""
    model, stood_at, spent = PlainModel(percents), 0, 0
    for more, amount in steps:
        spent += more
        is_beyond = {one: spent > 0 and spent / amount >= one / 100 for one in percents}
        expected = model.told(is_beyond, max((one for one, beyond in is_beyond.items() if beyond), default=None))
        reached = percent_reached(percents, spent, amount)
        assert (reached if reached > stood_at else None) == expected
        upcoming = next_percent(percents, reached)
        assert upcoming == min((one for one in percents if not is_beyond[one] and one > reached), default=None)
        stood_at = reached


@given(thresholds=st.sets(st.integers(min_value=-AMOUNT_MAX, max_value=AMOUNT_MAX), max_size=6), levels=levels)
def test_remainders_are_told_as_the_plain_model_tells_them(thresholds: set[int], levels: list[int]) -> None:
    """Money comes and goes: the lowest threshold crossed is told, alone, once until money is above it again."""
    model, stood_at = PlainModel(thresholds), None
    for left in levels:
        is_beyond = {one: left <= one for one in thresholds}
        expected = model.told(is_beyond, min((one for one, beyond in is_beyond.items() if beyond), default=None))
        reached = remainder_reached(thresholds, left)
        assert (reached if is_less(reached, stood_at) else None) == expected
        stood_at = reached


@given(thresholds=percents, steps=steps)
def test_a_course_without_a_way_back_tells_no_threshold_twice(
    thresholds: set[int], steps: list[tuple[int, int]]
) -> None:
    """Of one amount each percent is told at most once, in order, and one step tells at most one of them."""
    told, spent = [0], 0
    for more, _ in steps:
        spent += more
        reached = percent_reached(thresholds, spent, AMOUNT_MAX)
        if reached > told[-1]:
            told.append(reached)
    assert told == sorted(set(told))
