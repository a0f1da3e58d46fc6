"""Lists as comma-separated values: the fields that JSON has, whatever the list."""

from __future__ import annotations

import csv
import io
import pkgutil
from importlib import import_module
from typing import Any

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

import tallygate.control.v1
import tallygate.metering.v1
from tallygate.cli.console import print_list
from tallygate.cli.csv_lists import print_csv
from tallygate.control.v1 import catalog_service_pb2, lifecycle_service_pb2, model_pb2


def lists() -> dict[str, Any]:
    """Every answer of the contract that has pages."""
    found: dict[str, Any] = {}
    for package in (tallygate.control.v1, tallygate.metering.v1):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.endswith("_service_pb2"):
                made = import_module(f"{package.__name__}.{module.name}")
                messages = made.DESCRIPTOR.message_types_by_name
                found |= {
                    name: getattr(made, name)
                    for name, kind in messages.items()
                    if "next_page_token" in kind.fields_by_name
                }
    return found


def printed(capsys: pytest.CaptureFixture[str], answer: Any) -> list[dict[str, str]]:
    print_csv(answer)
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_amounts_times_texts_and_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Integers as they are, times in UTC, repeated fields as JSON, and any text in one cell."""
    named = model_pb2.Model(
        name="models/llama",
        display_name='a, "b"\n=c',
        aliases=["x", "y"],
        current_price=model_pb2.Price(
            version=2, input_nanos_per_million_tokens=2**62, effective_time=Timestamp(seconds=1)
        ),
    )
    answer = catalog_service_pb2.ListModelsResponse(models=[named, model_pb2.Model(name="models/other")])
    first, second = printed(capsys, answer)
    assert (first["name"], first["display_name"], first["aliases"]) == ("models/llama", 'a, "b"\n=c', '["x","y"]')
    assert first["current_price.input_nanos_per_million_tokens"] == str(2**62)
    assert first["current_price.effective_time"] == "1970-01-01T00:00:01Z"
    assert (second["name"], second["smallest_request_tokens"], second["current_price.version"]) == (
        "models/other",
        "0",
        "",
    )


@pytest.mark.parametrize("name", sorted(lists()))
def test_every_list_has_a_header(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty one as well, and each column once."""
    print_csv(lists()[name]())
    (header,) = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header
    assert len(set(header)) == len(header)


def test_one_form_at_a_time() -> None:
    """Whoever asks for two is told so."""
    with pytest.raises(typer.BadParameter, match="not both"):
        print_list(lifecycle_service_pb2.ListInferenceServicesResponse(), lambda: "", json=True, csv=True)
