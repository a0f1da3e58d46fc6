"""Slots of silent nodes: the time that is said is the first at which there is one, and never one where none waits."""

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.slot_return import LEAST_US, SlotsOnLease, first_return_us

LEASES = st.lists(
    st.builds(
        SlotsOnLease,
        st.integers(0, 4),
        st.one_of(st.none(), st.integers(0, 3 * LEAST_US), st.integers(0, 30 * LEAST_US)),
    ),
    max_size=6,
)


@given(st.integers(-6, 3), LEASES)
def test_it_is_the_first_moment_with_a_free_slot(available_units: int, on_lease: list[SlotsOnLease]) -> None:
    """If all leases gave everything back as early as they can; those that may at any moment have done so already."""

    def free_units(now_us: int) -> int:
        return available_units + sum(units for units, after_us in on_lease if (after_us or 0) <= now_us)

    said_us = first_return_us(available_units, on_lease)
    live_units = sum(units for units, after_us in on_lease if after_us is None)
    if said_us is None:
        assert available_units + live_units > 0 or free_units(30 * LEAST_US) <= 0
        return
    assert available_units + live_units <= 0
    assert free_units(said_us) > 0
    assert said_us == LEAST_US or free_units(said_us - 1) <= 0
    assert said_us >= LEAST_US
