"""Rows of many requests at once, by their names: one statement with two parameters, however many there are."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Dialect, FromClause, Select, Text, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from metering_service.storage.schema import requests
from metering_service.usecases.ports import RequestName


def among(dialect: Dialect, names: Sequence[RequestName], *columns: Any) -> Select[Any]:
    """Columns of all parts of the requests of these names."""
    return select(*columns).select_from(wanted(dialect, names))


def wanted(dialect: Dialect, names: Sequence[RequestName]) -> FromClause:
    """All parts of the requests of these names."""
    service: ColumnElement[str]
    request_id: ColumnElement[str]
    if dialect.name == "postgresql":
        arrays = (_array([name.service for name in names]), _array([name.request_id for name in names]))
        names_table = func.unnest(*arrays).table_valued(column("service", Text), column("request_id", Text))
        names_of = names_table.render_derived(name="wanted")
        service, request_id = names_of.c.service, names_of.c.request_id
    else:
        names_of = func.json_each(json.dumps(names)).table_valued(column("value", Text), name="wanted")
        service = func.json_extract(names_of.c.value, "$[0]")
        request_id = func.json_extract(names_of.c.value, "$[1]")
    found = (requests.c.service == service) & (requests.c.request_id == request_id)
    return names_of.join(requests, found)


def _array(values: Sequence[str]) -> BindParameter[Any]:
    return bindparam(None, values, ARRAY(Text), unique=True)
