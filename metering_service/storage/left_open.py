"""Queries that nodes send again and again as quick reads: whether lost nodes, or earlier epochs, left anything open."""

from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Select, Text, bindparam, exists, false, or_, select

from metering_service.storage.schema import IS_OPEN, leases, nodes, rechecks, requests

REGISTRATION: Final = (nodes.c.node, nodes.c.epoch, nodes.c.commit_no, nodes.c.holder, nodes.c.closed_below_epoch)
"""The columns of a `Registration`, in the order of its fields."""


def unsettled_text(dialect: Dialect) -> str:
    """All nodes but the one that is given that have open requests or leases on record, or rechecks to take; by name."""
    has_request = exists().where(requests.c.node == nodes.c.node, IS_OPEN)
    has_lease = exists().where(leases.c.node == nodes.c.node, leases.c.closed == false())
    has_recheck = exists().where(rechecks.c.node == nodes.c.node)
    others = select(*REGISTRATION).where(nodes.c.node != bindparam("but", type_=Text))
    return _text(others.where(or_(has_request, has_lease, has_recheck)).order_by(nodes.c.node), dialect)


def has_open_text(dialect: Dialect) -> str:
    """Whether the node that is given has open requests on record of epochs below the one that is given."""
    of_node = requests.c.node == bindparam("node", type_=Text)
    below = requests.c.epoch < bindparam("below_epoch", type_=BigInteger)
    return _text(select(exists().where(of_node, below, IS_OPEN)), dialect)


def _text(query: Select[Any], dialect: Dialect) -> str:
    return str(query.compile(dialect=dialect))
