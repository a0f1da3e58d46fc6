"""One label's value out of a column of labels, in SQL."""

from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class label_value(FunctionElement[str]):  # noqa: N801  # it is a function
    """`label_value(labels, key)`: the value, or NULL where there is no such label. Any text may be a key."""

    name = "label_value"
    type = Text()
    inherit_cache = True

    def __init__(self, labels: ColumnElement[str], key: str) -> None:
        super().__init__(labels, bindparam(None, key, Text(), unique=True))


@compiles(label_value, "postgresql")
def _postgresql(element: label_value, compiler: SQLCompiler, **options: Any) -> str:
    labels, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({labels} AS json) ->> {key})"


@compiles(label_value, "sqlite")
def _sqlite(element: label_value, compiler: SQLCompiler, **options: Any) -> str:
    # Not `->>`: it takes some keys for paths.
    labels, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(SELECT value FROM json_each({labels}) WHERE key = {key})"  # noqa: S608  # compiled expressions
