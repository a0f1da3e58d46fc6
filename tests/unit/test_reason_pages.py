"""Each reason has a page, which says what is true of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from metering_service.domain.decision import Reason
from tallygate.control.v1 import inference_service_pb2
from tallygate.integrations.openai.errors import MEANINGS
from tallygate.metering.v1 import decision_pb2

REASONS = Path(__file__).parents[2] / "docs" / "reasons"


def reasons_of(enum: Any, prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in enum.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}


DENIALS = reasons_of(decision_pb2.DecisionReason, "DECISION_REASON_")
STOPS = reasons_of(inference_service_pb2.StopReason, "STOP_REASON_")
COULD_NOT_TELL = 40
"""Number of the first reason that is no refusal, as the contract says."""


def page(name: str) -> str:
    return (REASONS / f"{name.lower().replace('_', '-')}.md").read_text(encoding="utf-8")


def test_there_is_a_page_for_each_reason_and_no_other() -> None:
    """And each stands in the list."""
    pages = {path.stem.replace("-", "_").upper() for path in REASONS.glob("*.md")} - {"README"}
    assert pages == DENIALS | STOPS
    index = (REASONS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[(\w+)\]", index, re.MULTILINE)) == pages


@pytest.mark.parametrize("name", sorted(DENIALS))
def test_a_page_says_what_the_decision_says(name: str) -> None:
    """Whether repeating helps, and whether it is a refusal."""
    text = page(name)
    assert f"| repeating helps | {'yes' if Reason[name].retryable else 'no'} |" in text
    is_refusal = decision_pb2.DecisionReason.Value(f"DECISION_REASON_{name}") < COULD_NOT_TELL
    assert f"| family | {'refused' if is_refusal else 'could not tell'} |" in text
    assert ("stops a service" in text) is (name in STOPS)
    assert "## What to look at" in text
    assert "## What to do" in text


@pytest.mark.parametrize("name", sorted(DENIALS))
def test_the_status_is_that_of_the_middleware(name: str) -> None:
    """Which clients get, on this page and on the middleware's own."""
    status = MEANINGS[name].status
    assert f"| status of the middleware | {status} |" in page(name)
    clients = (REASONS.parent / "integrations" / "asgi.md").read_text(encoding="utf-8")
    (row,) = [row for row in clients.splitlines() if row.startswith("| ") and re.search(rf"\b{name}\b", row)]
    assert row.startswith(f"| {status}")
