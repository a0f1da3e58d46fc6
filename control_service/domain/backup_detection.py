"""Detection of restored backups: a database that was restored from an older copy lacks what the other one records.

Control answers an exchange only when the exchange is on record, and nodes report commits to control only when the
commits are on record. So neither database may lack what was reported from it to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from control_service.domain.node import Node


class Mark(NamedTuple):
    """The watermark of a node's epoch in the metering database: last commit, and last answered exchange or 0."""

    node: str
    epoch: int
    commit_no: int
    exchange_number: int


def forgotten_exchange(known: Mapping[str, Node], history: Sequence[Mark]) -> Mark | None:
    """A watermark whose exchange control has answered, but does not have on record; None if there is none.

    `known` are control's nodes by name, `history` the watermarks in the metering database.
    """
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
    """Whether the metering database lacks a commit that this node reported to control.

    The present epoch is judged by its exchanges: one of them may have reported a commit after the history was read.
    """
    if known.epoch == epoch or known.epoch <= known.recovered_epoch:
        return False
    commits = {mark.epoch: mark.commit_no for mark in history if mark.node == known.name}
    if known.epoch in commits:
        return commits[known.epoch] < known.commit_no
    # A long history has the last epochs only.
    return bool(commits) and known.epoch > min(commits)
