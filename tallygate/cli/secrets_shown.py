"""Secrets that are shown once: to the terminal, or into a file that only its owner may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tallygate.cli.console import err, literal
from tallygate.cli.rpc import fail

OutOption = Annotated[
    str, typer.Option("--out", metavar="FILE", help="Write the secret into this new file, and not to the terminal.")
]
_PRIVATE = 0o600


def require_new(path: str) -> None:
    """Ends the command where the file is there already: before a secret is made that could not be kept."""
    if path and Path(path).exists():
        fail(f"{path} is there already; give a new file, or delete that one")


def show_secret(secret: str, path: str, *, lost: bool, what: str = "token") -> None:
    """Shows a secret, or writes it into the file. `what`: what it proves, which is said to stderr."""
    if lost:
        fail(f"this call was made before and its secret was shown then; rotate the {what} to get another one")
    if not path:
        print(secret)
        err.print(f"This is the only time that the {what} is shown.", style="dim")
        return
    write_secret(secret, path)
    err.print(literal(f"The {what} is in {path}, which only you can read."))


def write_secret(secret: str, path: str) -> None:
    """Writes a secret into a new file that only its owner may read."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}; give another file")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
