"""Moments as people type them: `2026-12-04`, `2026-12-04T18:00+01:00`, or `5d` from now."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.durations import parse_duration


def parse_moment(text: str) -> Timestamp:
    """A moment of ISO 8601, in UTC unless it says otherwise, or a length of time from now."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return Timestamp(seconds=int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
    try:
        return Timestamp(seconds=int(time.time()) + parse_duration(text).seconds)
    except typer.BadParameter as error:
        raise typer.BadParameter(
            f"{text!r} is no moment; write it as 2026-12-04, 2026-12-04T18:00+01:00, or 5d from now"
        ) from error
