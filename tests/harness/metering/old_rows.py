"""Rows of the metering database as they were before teams and stamps, for tests of its upgrades."""

import shutil
from pathlib import Path

from metering_service import storage
from tests.harness.metering.records import NODE, NOON_US, SERVICE, UID

COMMON: dict[str, object] = {"service": SERVICE, "service_uid": UID, "credential": "key-1"}
NO_TOKENS = dict.fromkeys(("cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "overrun_tokens"), 0)
OLD_REQUEST = (
    COMMON
    | NO_TOKENS
    | {
        "request_id": "r1",
        "part": "p1",
        "node": NODE,
        "state": "open",
        "input_tokens": 7,
        "output_tokens": 2,
        "price": "[1,1,1,1,1]",
        "debt_allowed": True,
        "estimated": False,
        "labels": "{}",
        "start_us": NOON_US,
        **dict.fromkeys(("reserved", "trial", "billed", "unfunded", "held"), "[]"),
        **dict.fromkeys(("epoch", "cost_nanos", "debt_nanos", "price_version", "revision"), 0),
        **dict.fromkeys(("base_input_tokens", "base_output_tokens"), 0),
    }
)
OLD_CELL = (
    COMMON
    | NO_TOKENS
    | {
        "minute_us": NOON_US,
        "labels": "{}",
        "input_tokens": 14,
        "output_tokens": 7,
        "trial_tokens": 7,
        "billed_tokens": 14,
        "request_count": 1,
        **dict.fromkeys(("reserved_tokens", "unfunded_tokens", "cost_nanos", "debt_nanos"), 0),
    }
)
OLD_DENIAL = COMMON | {"minute_us": NOON_US, "reason": "BUDGET_CONTENDED", "denial_count": 5}
OLD_ROWS = {"requests": OLD_REQUEST, "minute_usage": OLD_CELL, "minute_denials": OLD_DENIAL}


def migrations_below(revision: str, folder: Path) -> str:
    """The migrations up to the one before a revision, in a folder that is empty yet."""
    versions = folder / "versions"
    versions.mkdir()
    for script in (Path(storage.__file__).parent / "migrations" / "versions").glob("v00*.py"):
        if script.name < f"v{revision}":
            shutil.copy(script, versions)
    return str(folder)
