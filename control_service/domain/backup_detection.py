"""Whether control and the metering database remember the same past: restored from an older copy, one of them does not.

Control answers an exchange only when it has it on record, and is told of commits only when they are on record. So
neither may ever lack what the other one has heard of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from control_service.domain.node import Node


class Mark(NamedTuple):
    """How far a node had got in an epoch, by the metering database. `exchange_number`: the last one answered, or 0."""

    node: str
    epoch: int
    commit_no: int
    exchange_number: int


def forgotten_exchange(known: Mapping[str, Node], history: Sequence[Mark]) -> Mark | None:
    """An exchange that control has answered and knows nothing of; None if there is none."""
    for mark in history:
        if not mark.exchange_number:
            continue
        node = known.get(mark.node)
        if node is None:
            return mark
        is_older = (node.epoch, node.exchange_number) < (mark.epoch, mark.exchange_number)
        if is_older and mark.epoch > node.recovered_epoch:
            return mark
    return None


def has_forgotten_commits(known: Node, epoch: int, history: Sequence[Mark]) -> bool:
    """Whether the metering database lacks something that a node had committed there, as control was told.

    The present epoch is judged by its exchanges: one of them may have told of a commit since the history was read.
    """
    if known.epoch == epoch or known.epoch <= known.recovered_epoch:
        return False
    commits = {mark.epoch: mark.commit_no for mark in history if mark.node == known.name}
    if known.epoch in commits:
        return commits[known.epoch] < known.commit_no
    # Of a long past only the end is told.
    return bool(commits) and known.epoch > min(commits)
