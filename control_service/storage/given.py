"""Given rows: any number of rows as one parameter, so that a statement is set-wise and its text always the same.

SQLite reads them from JSON, PostgreSQL from one array for each column. A text that is compiled and planned once serves
one exchange as well as a group of them.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Subquery,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

Columns = Mapping[str, TypeEngine[Any]]

TEXT: Final = Text()
NUMBER: Final = BigInteger()
_ROWS: Final = "given"


def given(dialect: str, columns: Columns) -> FromClause:
    """The given rows as a table named `given` with these columns."""
    if dialect == "sqlite":
        each = func.json_each(bindparam(_ROWS, type_=Text)).table_valued(column("value", Text), name="each")
        found: Subquery = select(
            *(
                func.json_extract(each.c.value, f"$[{index}]", type_=of_type).label(name)
                for index, (name, of_type) in enumerate(columns.items())
            )
        ).subquery("given")
        return found
    arrays = [
        cast(bindparam(_parameter(name), type_=ARRAY(of_type)), ARRAY(of_type)) for name, of_type in columns.items()
    ]
    table = func.unnest(*arrays).table_valued(
        *(column(name, of_type) for name, of_type in columns.items()), name="given"
    )
    return table.render_derived()


def parameters(dialect: str, columns: Columns, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """The parameters of a statement with `given`; a row has a value for each column, in their order."""
    if dialect == "sqlite":
        return {_ROWS: json.dumps(list(rows))}
    values = zip(*rows, strict=True)
    return {_parameter(name): list(of_column) for name, of_column in zip(columns, values, strict=True)}


def is_one_of(dialect: str, column_: ColumnElement[Any], name: str = "keys") -> ColumnElement[bool]:
    """Whether a column has one of the values of `keys_of`; `name` tells several of one statement apart."""
    if dialect == "sqlite":
        each = func.json_each(bindparam(name, type_=Text)).table_valued(
            column("value", column_.type), name=f"each_{name}"
        )
        return column_.in_(select(each.c.value))
    return column_ == func.any(cast(bindparam(name, type_=ARRAY(column_.type)), ARRAY(column_.type)))


def keys_of(dialect: str, keys: Collection[Any], name: str = "keys") -> dict[str, Any]:
    """The parameter of `is_one_of`."""
    return {name: json.dumps(list(keys)) if dialect == "sqlite" else list(keys)}


def _parameter(name: str) -> str:
    return f"given_{name}"
