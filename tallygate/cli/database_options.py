"""Options of commands that are about the databases of a pair: a directory of files, or a URL for each."""

from __future__ import annotations

from typing import Annotated, Final

import typer

DATA_DIR: Final = "tallygate-data"
_HELP: Final = "postgresql://... instead of a file."

DataDirOption = Annotated[
    str, typer.Option(metavar="DIR", envvar="TALLYGATE_DATA_DIR", help="Where the SQLite databases are kept.")
]
ControlDatabaseOption = Annotated[str, typer.Option(metavar="URL", envvar="TALLYGATE_CONTROL_DATABASE_URL", help=_HELP)]
MeteringDatabaseOption = Annotated[
    str, typer.Option(metavar="URL", envvar="TALLYGATE_METERING_DATABASE_URL", help=_HELP)
]
