"""The glance: what a replica at rest must know, by one query that reads a step of some indexes, and the nodes."""

from functools import cache
from typing import Final

from sqlalchemy import Dialect, exists, func, not_, select, true

from control_service.storage import alert_schema, catalogue_schema, schema
from control_service.storage.configs import untold
from control_service.storage.limit_schema import budgets
from control_service.usecases.pulse_ports import Glance, NodeSigns
from tallygate._server.database.quick_reads import Rows

_services = schema.services
_leases = schema.leases
_recall_us = _leases.c.recall_requested_us
_due_us = alert_schema.deliveries.c.next_attempt_us
_raise_us = budgets.c.raise_due_us
_nodes = schema.nodes

_QUERY: Final = select(
    schema.meta.c.config_version,
    select(func.max(_recall_us)).where(_recall_us.is_not(None), not_(_leases.c.closed)).scalar_subquery(),
    select(func.min(_services.c.next_due_us)).scalar_subquery(),
    select(func.min(catalogue_schema.models.c.next_due_us)).scalar_subquery(),
    select(func.min(_raise_us)).where(_raise_us.is_not(None), budgets.c.delete_us.is_(None)).scalar_subquery(),
    exists().where(untold, _services.c.activation_version.is_not(None)),
    select(func.min(_due_us)).where(_due_us.is_not(None)).scalar_subquery(),
    _nodes.c.node,
    _nodes.c.epoch,
    _nodes.c.leases_kept_us,
    _nodes.c.heard_count,
    _nodes.c.exchange_number,
).select_from(schema.meta.outerjoin(_nodes, true()))
"""A row for each node, or one without; all that is of no node is the same in each, and looked for once."""


@cache
def query(dialect: Dialect) -> str:
    """As this database spells it."""
    return str(_QUERY.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def glance_of(rows: Rows) -> Glance:
    """What the query has found."""
    version, recall_us, service_us, model_us, raise_us, awaits, delivery_us, *_ = rows[0]
    return Glance(
        config_version=version,
        last_recall_us=recall_us,
        first_due_us=min((due_us for due_us in (service_us, model_us, raise_us) if due_us is not None), default=None),
        awaits_fleet=bool(awaits),
        first_delivery_us=delivery_us,
        nodes=tuple(NodeSigns(*row[-len(NodeSigns._fields) :]) for row in rows if row[-1] is not None),
    )
