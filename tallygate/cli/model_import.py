"""`tallygate model import`: prices from a list of somebody else's; without `--apply` only what it would do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import grpc
import typer

from tallygate._wire.names import MODEL_ID
from tallygate.cli.console import err, literal, out
from tallygate.cli.money import format_amount
from tallygate.cli.rpc import DEFAULT_CONTROL, TIMEOUT_S, ControlOption, control_channel, fail, key_or_new
from tallygate.cli.show_access import table
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import catalog_service_pb2_grpc, model_pb2
from tallygate.price_lists.entry import KINDS, Entry

GENAI: Final = "genai-prices"
"""Source that is a package, not a file."""
_CURRENCY: Final = "USD"
"""Currency of both lists."""
_PRICES: Final = tuple(f"{kind}_nanos_per_million_tokens" for kind in KINDS)
_Stub = catalog_service_pb2_grpc.CatalogServiceStub


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry to import, the model that gets its price, and why it cannot; empty where it can."""

    entry: Entry
    model: str
    problem: str
    is_new: bool = False
    is_in_force: bool = False

    @property
    def what(self) -> str:
        """What is to be done."""
        if self.problem:
            return "cannot"
        if self.is_in_force:
            return "nothing: in force already"
        return "create, publish" if self.is_new else "publish"


def import_prices(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="genai-prices, or the file of a price map of LiteLLM.")
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Entries: openai/gpt-4o, 'openai/*', or openai/gpt-4o=our-model where the model has another id.",
        ),
    ],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it: create models, publish prices.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
) -> None:
    """Publishes prices of a price list, exactly as they are there, and creates models that are missing.

    Says of each entry what our prices cannot say. Changes nothing without --apply.
    """
    label, entries = _read(source)
    chosen = _chosen(entries, names)
    with control_channel(control) as channel:
        stub = _Stub(channel)
        wanted = [one if one.problem else _compared(one, _find(stub, one.model)) for one in chosen]
        for one in wanted if apply else ():
            _do(stub, one, label)
    out.print(table(("entry", "model", "what", *(kind.replace("_", " ") for kind in KINDS)), map(_row, wanted)))
    for one in wanted:
        if one.problem or one.entry.left_out:
            err.print(literal(f"{one.entry.name}: {one.problem or 'without ' + ', '.join(one.entry.left_out)}"))
    if not apply:
        err.print(
            literal(f"Nothing was changed. With --apply it is done, and prices say that they are of {label}.", "dim")
        )


def _read(source: str) -> tuple[str, list[Entry]]:
    try:
        if source != GENAI:
            from tallygate.price_lists import litellm  # noqa: PLC0415  # one of two

            return litellm.read(Path(source))
        from tallygate.price_lists import genai  # noqa: PLC0415  # a package that may not be there

        return genai.read(datetime.now(UTC))
    except ImportError as error:
        fail(f"The list needs {error.name}, which comes with: pip install 'tallygate[cli,prices]'", 2)
    except (OSError, ValueError) as error:
        fail(f"{error}; name genai-prices, or the file of a price map of LiteLLM", 2)


def _chosen(entries: Sequence[Entry], names: Iterable[str]) -> list[Wanted]:
    """The entries that are named, each once, with their models."""
    models: dict[str, tuple[Entry, str]] = {}
    for name in names:
        pattern, _, model = name.partition("=")
        found = [one for one in entries if fnmatchcase(one.name, pattern)]
        if not found:
            near = get_close_matches(pattern, [one.name for one in entries], 1)
            fail(f"The list has no entry {pattern}" + (f": is it {near[0]}?" if near else ""))
        if model and len(found) > 1:
            fail(f"{pattern} is {len(found)} entries, which cannot all be {model}: name one of them")
        models |= {one.name: (one, model or one.name.rpartition("/")[2].lower()) for one in found}
    counts = Counter(model for _, model in models.values())
    return [
        Wanted(entry, f"models/{model}", entry.problem or _problem_of(model, counts[model]))
        for entry, model in models.values()
    ]


def _problem_of(model: str, count: int) -> str:
    if not re.fullmatch(MODEL_ID, model):
        return f"{model} is no id of a model: say which it is by NAME=MODEL"
    return f"{count} entries are for models/{model}: say which is which by NAME=MODEL" if count > 1 else ""


def _find(stub: _Stub, name: str) -> model_pb2.Model | None:
    try:
        return stub.GetModel(catalogue.GetModelRequest(name=name), timeout=TIMEOUT_S).model
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


def _compared(wanted: Wanted, model: model_pb2.Model | None) -> Wanted:
    """With what the catalogue has already."""
    if model is None:
        return replace(wanted, is_new=True)
    if model.currency_code != _CURRENCY:
        return replace(wanted, problem=f"{model.name} has its prices in {model.currency_code}, the list in {_CURRENCY}")
    price = model.current_price
    is_same = model.HasField("current_price") and wanted.entry.price == tuple(getattr(price, one) for one in _PRICES)
    return replace(wanted, is_in_force=is_same)


def _do(stub: _Stub, wanted: Wanted, source: str) -> None:
    if wanted.problem or wanted.is_in_force:
        return
    if wanted.is_new:
        created = catalogue.CreateModelRequest(
            name=wanted.model, currency_code=_CURRENCY, idempotency_key=key_or_new("")
        )
        stub.CreateModel(created, timeout=TIMEOUT_S)
    published = catalogue.PublishPriceRequest(model=wanted.model, source=source, idempotency_key=key_or_new(""))
    for name, nanos in zip(_PRICES, wanted.entry.price, strict=True):
        setattr(published, name, nanos)
    stub.PublishPrice(published, timeout=TIMEOUT_S)


def _row(wanted: Wanted) -> tuple[str, ...]:
    amounts = [format_amount(nanos, _CURRENCY) for nanos in wanted.entry.price]
    return (wanted.entry.name, wanted.model, wanted.what, *(amounts if not wanted.problem else [""] * len(amounts)))
