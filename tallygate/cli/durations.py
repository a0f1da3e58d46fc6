"""Lengths of time as people type them: `90d`, `12h`, `15m`."""

from __future__ import annotations

import re
from typing import Final

import typer
from google.protobuf.duration_pb2 import Duration

_LENGTH: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(text: str) -> Duration:
    """Whole seconds, minutes, hours or days."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no length of time; write it as 90d, 12h, 15m or 30s")
    return Duration(seconds=int(match[1]) * _SECONDS[match[2]])
