"""`tallygate context`: which pair commands speak to."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tallygate.cli.console import literal, out
from tallygate.cli.contexts import ContextError, Contexts, ContextStore
from tallygate.cli.rpc import fail
from tallygate.cli.show_access import table

app = typer.Typer(
    help="Contexts: the pairs that you have logged in to, and which of them commands use.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(metavar="CONTEXT", help="Its name, as `context list` shows it")]


@app.command("list")
def list_contexts() -> None:
    """Lists contexts; commands use the one with the star."""
    _, contexts = _read()
    out.print(
        table(
            ("", "context", "control", "metering", "CA", "certificate"),
            (
                ("*" if name == contexts.current else "", name, one.control, one.metering, one.ca_file, one.cert_file)
                for name, one in sorted(contexts.by_name.items())
            ),
        )
    )


@app.command()
def use(context: NameArgument) -> None:
    """Has commands use another context from now on."""
    store, contexts = _read()
    _require(contexts, context)
    _write(store, contexts.with_context(context, contexts.by_name[context]))
    out.print(literal(f"Commands use {context} now: control at {contexts.by_name[context].control}."))


@app.command()
def delete(context: NameArgument) -> None:
    """Forgets a context and its token; `logout` also ends the token at the server."""
    store, contexts = _read()
    _require(contexts, context)
    try:
        store.keep_token(context, None)
    except ContextError as error:
        fail(str(error))
    _write(store, contexts.without(context))


def _read() -> tuple[ContextStore, Contexts]:
    store = ContextStore.of(os.environ)
    try:
        return store, store.read()
    except ContextError as error:
        fail(str(error))


def _write(store: ContextStore, contexts: Contexts) -> None:
    try:
        store.write(contexts)
    except ContextError as error:
        fail(str(error))


def _require(contexts: Contexts, name: str) -> None:
    if name not in contexts.by_name:
        fail(f"there is no context {name}; see `tallygate context list`")
