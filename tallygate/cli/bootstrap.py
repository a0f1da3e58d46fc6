"""First secrets of a pair, made on this machine: the operator's token, and the pepper that tokens are hashed with."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, token_id_of, token_text
from tallygate.cli.console import err, literal
from tallygate.cli.rpc import fail
from tallygate.cli.secrets_shown import write_secret

OPERATOR_FILE: Final = "operator.token"
PEPPER_FILE: Final = "pepper"
_PEPPER_BYTES: Final = 32


def bootstrap(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where the two files go; it is made if need be.")],
) -> None:
    """Makes the token of the first operator, and the pepper of the control service, in two files of yours alone."""
    made = make_first_secrets(Path(directory), OPERATOR_FILE, PEPPER_FILE)
    if not made:
        fail(f"{OPERATOR_FILE} and {PEPPER_FILE} are in {directory} already")
    for path in made:
        err.print(literal(f"made {path}"))
    token, pepper = Path(directory) / OPERATOR_FILE, Path(directory) / PEPPER_FILE
    err.print(literal(f"tallygate control serve --operator-token-file {token} --pepper-file {pepper} ..."), style="dim")
    err.print(literal(f"tallygate --token-file {token} login ..."), style="dim")


def make_first_secrets(directory: Path, *names: str) -> list[Path]:
    """Makes those of the named files, `OPERATOR_FILE` or `PEPPER_FILE`, that are missing; returns them."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{directory} cannot be made: {error.strerror}")
    contents = {
        OPERATOR_FILE: token_text(token_id_of(secrets.token_bytes(ID_BYTES)), secrets.token_bytes(SECRET_BYTES)),
        PEPPER_FILE: secrets.token_hex(_PEPPER_BYTES),
    }
    missing = [directory / name for name in names if not (directory / name).exists()]
    for path in missing:
        write_secret(contents[path.name], str(path))
    return missing
