"""Rows of many requests at once, by their names: one statement with two parameters, however many there are."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Dialect, FromClause, Text, bindparam, column, func, literal_column, not_, select
from sqlalchemy.dialects.postgresql import ARRAY

from metering_service.storage.schema import IS_OPEN, requests
from metering_service.usecases.ports import RequestName


def wanted(dialect: Dialect) -> FromClause:
    """All parts of the requests that are named by the parameters `named` makes: for statements that are built once."""
    service: ColumnElement[str]
    request_id: ColumnElement[str]
    if dialect.name == "postgresql":
        arrays = (bindparam("services", type_=ARRAY(Text)), bindparam("request_ids", type_=ARRAY(Text)))
        table = func.unnest(*arrays).table_valued(column("service", Text), column("request_id", Text))
        names = table.render_derived(name="wanted")
        service, request_id = names.c.service, names.c.request_id
    else:
        names = func.json_each(bindparam("names", type_=Text)).table_valued(column("value", Text), name="wanted")
        service, request_id = (
            func.json_extract(names.c.value, literal_column(path, Text)) for path in ("'$[0]'", "'$[1]'")
        )
    return names.join(requests, (requests.c.service == service) & (requests.c.request_id == request_id))


def named(dialect: Dialect, names: Sequence[RequestName]) -> dict[str, Any]:
    """The parameters of a statement that selects from `wanted`."""
    if dialect.name == "postgresql":
        return {"services": [name.service for name in names], "request_ids": [name.request_id for name in names]}
    return {"names": json.dumps(names)}


def bookings_text(dialect: Dialect) -> str:
    """A query for a quick read: when each part of the requests that are named by `values` was booked.

    What goes on from another part is left out.
    """
    query = select(requests.c.service, requests.c.request_id, requests.c.settle_us).select_from(wanted(dialect))
    booked = query.where(not_(IS_OPEN), requests.c.settle_us.is_not(None), requests.c.predecessor_part.is_(None))
    return str(booked.compile(dialect=dialect))


def values(dialect: Dialect, names: Sequence[RequestName]) -> Sequence[Any]:
    """The values of a quick read that selects from `wanted`, in the order of their places."""
    return tuple(named(dialect, names).values())
