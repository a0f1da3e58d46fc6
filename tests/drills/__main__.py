"""One drill: `python -m tests.drills failover --requests 20000`. Fails where the books disagree."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.drills.drills import Drilled, fail_over, patroni_kill, patroni_switch_over, pooler_restart
from tests.drills.partitions import partitions, short_partition
from tests.harness.programs.hosts import why_no_hosts

DRILLS: dict[str, Callable[[Path, Path, int], Awaitable[Drilled]]] = {
    "failover": fail_over,
    "pooler": pooler_restart,
    "patroni-switch": patroni_switch_over,
    "patroni-kill": patroni_kill,
    "partitions": partitions,
    "short-partition": short_partition,
}
ON_HOSTS = {"partitions", "short-partition"}
"""Drills that need hosts of their own."""


async def drill(name: str, request_count: int) -> bool:
    """Whether the books agree after it. Ended by a signal, it leaves no program and no host behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    # Not in one that is closed to other users: under root PostgreSQL runs as another one.
    with tempfile.TemporaryDirectory(prefix="tallygate-drill-") as logs, tempfile.TemporaryDirectory() as directory:
        drilled = await DRILLS[name](Path(directory), Path(logs), request_count)
    sys.stdout.write(f"{json.dumps(drilled.as_json(), indent=2)}\n")
    return drilled.is_well


def main() -> None:
    """Read the options and run the drill."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills")
    parser.add_argument("name", choices=sorted(DRILLS))
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    why_not = why_no_hosts() if options.name in ON_HOSTS else ""
    if why_not:
        parser.error(why_not)
    sys.exit(0 if asyncio.run(drill(options.name, options.requests)) else 1)


if __name__ == "__main__":
    main()
