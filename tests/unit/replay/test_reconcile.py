"""The comparison of sources."""

from __future__ import annotations

from tallygate.replay.figures import Figures
from tallygate.replay.reconcile import Difference, Source, differences


def test_sources_that_agree_make_no_difference() -> None:
    """A source is compared only where it says something."""
    sources = [
        Source("sent", Figures(requests=2, input_tokens=10)),
        Source("records", Figures(requests=2, input_tokens=10, cost_nanos=5)),
        Source("ledger", Figures(cost_nanos=5)),
    ]
    assert differences(sources) == []


def test_each_disagreement_is_named() -> None:
    """A difference says which source, which figure, what was expected and what was found."""
    sources = [
        Source("sent", Figures(input_tokens=10)),
        Source("records", Figures(input_tokens=9, cost_nanos=5)),
        Source("ledger", Figures(cost_nanos=4)),
    ]
    assert differences(sources) == [
        Difference("records", "input_tokens", 10, 9),
        Difference("ledger", "cost_nanos", 5, 4),
    ]


def test_what_was_there_before_does_not_count() -> None:
    """Only what was added since the first look is compared."""
    before = Figures(input_tokens=100, cost_nanos=7)
    after = Figures(input_tokens=130, cost_nanos=7)

    assert after.less(before) == Figures(input_tokens=30, cost_nanos=0)
