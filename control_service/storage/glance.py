"""The glance: what a replica at rest must know, by two queries that read a step of some indexes and the nodes."""

from functools import cache
from typing import Any, Final

from sqlalchemy import Dialect, Select, exists, func, not_, select

from control_service.storage import alert_schema, schema
from control_service.storage.configs import untold
from control_service.usecases.pulse_ports import Glance, NodeSigns
from tallygate._server.database.quick_reads import Rows

_services = schema.services
_leases = schema.leases
_due_us = alert_schema.deliveries.c.next_attempt_us
_nodes = schema.nodes

_MOMENTS: Final = select(
    schema.meta.c.config_version,
    exists().where(_leases.c.recall_requested_us.is_not(None), not_(_leases.c.closed)),
    select(func.min(_services.c.next_due_us)).scalar_subquery(),
    select(func.min(schema.models.c.next_due_us)).scalar_subquery(),
    exists().where(untold, _services.c.activation_version.is_not(None)),
    select(func.min(_due_us)).where(_due_us.is_not(None)).scalar_subquery(),
)
_SIGNS: Final = select(_nodes.c.node, _nodes.c.epoch, _nodes.c.heard_count, _nodes.c.exchange_number)


@cache
def queries(dialect: Dialect) -> tuple[str, str]:
    """Both, as this database spells them."""
    return _text(_MOMENTS, dialect), _text(_SIGNS, dialect)


def glance_of(moments: Rows, signs: Rows) -> Glance:
    """What the two have found."""
    ((version, recalls, service_us, model_us, awaits, delivery_us),) = moments
    return Glance(
        config_version=version,
        has_recalls=bool(recalls),
        first_due_us=min((due_us for due_us in (service_us, model_us) if due_us is not None), default=None),
        awaits_fleet=bool(awaits),
        first_delivery_us=delivery_us,
        nodes=tuple(NodeSigns(*row) for row in signs),
    )


def _text(query: Select[Any], dialect: Dialect) -> str:
    return str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
