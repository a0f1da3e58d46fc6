"""Checkpoints of requests that report in any order: servers do not report in turn."""

import random
from collections.abc import Iterator

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.counts_page import PAGE_BITS, counts_at, page_of
from metering_service.domain.records import CommitBatch
from metering_service.domain.report import Phase
from metering_service.usecases.commits import checkpoints
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.services import SERVICE, with_money

AUTHORIZE, PROGRESS = Phase.AUTHORIZE, Phase.PROGRESS
REQUESTS = 2_000


def checkpoint(rig: Rig) -> Iterator[CommitBatch]:
    """All commits of one checkpoint."""
    begins = True
    while begins or rig.checkpoints.is_sweeping:
        list(rig.checkpoints.sweep(begins=begins))
        begins = False
        gathering = rig.buffer.begin_commit()
        if gathering is not None:
            yield gathering.batch(1)
            rig.buffer.end_commit()


@pytest.mark.parametrize("in_turn", [True, False])
def test_a_checkpoint_writes_each_page_about_once(in_turn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order; and every count is where its request's place says."""
    fleet = Fleet()
    with_money(fleet, 10**12)
    rig, client = fleet["a"], Client(fleet["a"])
    names = [f"r{number}" for number in range(REQUESTS)]
    client.say(report(AUTHORIZE, "warm", Counts(10), max_output_tokens=10_000_000))
    client.send(*(report(AUTHORIZE, name, Counts(1), max_output_tokens=16) for name in names))
    fleet.run(seconds=2)
    while rig.checkpoints.has_dirty or rig.checkpoints.is_sweeping:
        list(checkpoint(rig))
    assert len(rig.node.services[SERVICE].open) == REQUESTS + 1
    if not in_turn:
        random.Random(1).shuffle(names)
    client.send(*(report(PROGRESS, name, Counts(1, output=1)) for name in names))
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SLICE", 256)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_STEP", 256)
    batches = list(checkpoint(rig))
    commits, pages = len(batches), sum(len(batch.counts) for batch in batches)
    assert commits == pytest.approx(REQUESTS / 256, abs=1)
    all_pages = (REQUESTS >> PAGE_BITS) + 1
    # A neighbourhood that did not fit into one commit is written again with the next.
    assert pages <= all_pages + 8 * commits
    data = {each.page: each.data for batch in batches for each in batch.counts}
    for name in names:
        place = rig.node.services[SERVICE].open[name].place
        assert place is not None
        assert counts_at(data[page_of(place)], place) == Counts(1, output=1)
