"""Moments as people type them: `2026-12-04`, `2026-12-04T18:00+01:00`, or `5d` from now."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.durations import parse_duration


def parse_moment(text: str) -> Timestamp:
    """A moment of ISO 8601, in UTC unless it says otherwise, or a length of time from now."""
    if (moment := _of_iso(text)) is not None:
        return moment
    try:
        return Timestamp(seconds=int(time.time()) + parse_duration(text).seconds)
    except typer.BadParameter as error:
        raise typer.BadParameter(
            f"{text!r} is no moment; write it as 2026-12-04, 2026-12-04T18:00+01:00, or 5d from now"
        ) from error


def parse_past_moment(text: str) -> Timestamp:
    """A moment of ISO 8601, in UTC unless it says otherwise, or a length of time ago; `0s` is now."""
    if (moment := _of_iso(text)) is not None:
        return moment
    try:
        ago_s = 0 if text == "0s" else parse_duration(text).seconds
    except typer.BadParameter as error:
        raise typer.BadParameter(
            f"{text!r} is no moment; write it as 2026-12-04, 2026-12-04T18:00+01:00, or 5d for 5 days ago"
        ) from error
    return Timestamp(seconds=int(time.time()) - ago_s)


def _of_iso(text: str) -> Timestamp | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Timestamp(seconds=int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
