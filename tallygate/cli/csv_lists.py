"""Lists as comma-separated values: a line for each element, with the fields of the contract as they are in JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_OWN = "tallygate."
"""Beginning of the names of messages that have columns for their fields; others are one value."""


def print_csv(answer: Message) -> None:
    """The elements of the answer's list, under a header. Nested fields are named `outer.inner`; amounts are nanos."""
    (field,) = (one for one in answer.DESCRIPTOR.fields if one.is_repeated and one.message_type is not None)
    columns = list(_columns(field.message_type))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(".".join(path) for path in columns)
    for element in getattr(answer, field.name):
        values = MessageToDict(element, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        writer.writerow(_text(values, path) for path in columns)


def _columns(kind: Any, outer: Sequence[Any] = ()) -> Iterator[tuple[str, ...]]:
    for field in kind.fields:
        inner = field.message_type
        if field.is_repeated or inner is None or not inner.full_name.startswith(_OWN) or inner in outer:
            yield (field.name,)
        else:
            yield from ((field.name, *path) for path in _columns(inner, (*outer, kind)))


def _text(values: Mapping[str, Any], path: Sequence[str]) -> str:
    value: Any = values
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
