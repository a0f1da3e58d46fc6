"""Upgrades a fleet program by program under load, takes that back again, and compares all the books: see --help."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.builds import Build, older
from tallygate.replay.outcome import Outcome
from tallygate.replay.run import ReplayPlan, replay
from tallygate.replay.synthetic import synthesize
from tallygate.replay.tally import Tally
from tests.harness.programs.command import tallygate
from tests.harness.programs.programs import Code, Pair, start
from tests.torture.__main__ import databases

SERVICE = "accounts/acme/services/default-llama"
CONTROLS = ("control-1", "control-2")
NODES = ("node-1", "node-2")
THIS = Code()
REQUESTS_PER_SECOND = 20
REFUSAL = "which this "
"""Words of the sentence by which a program refuses a schema that is newer than itself."""


@dataclass
class Fleet:
    """Two replicas and two nodes, each of one version or the other. `refused`: what older ones said, by name."""

    pair: Pair
    old: Code
    console: Console
    refused: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> None:
        """All of the older version."""
        for name in (*CONTROLS, *NODES):
            await self._start(name, "127.0.0.1:0", self.old)

    async def upgrade(self) -> None:
        """One after the other, the replicas first."""
        for name in (*CONTROLS, *NODES):
            await self._replace(name, THIS)

    async def downgrade(self) -> None:
        """The other way round. A program that refuses the newer schema is one of the newer version again."""
        for name in (*reversed(NODES), *reversed(CONTROLS)):
            try:
                await self._replace(name, self.old)
            except AssertionError:
                said = (self.pair.directory / f"{name}.log").read_text().splitlines()[-1]
                if REFUSAL not in said:
                    raise
                self.refused[name] = said
                await self._start(name, self.pair.programs[name].address, THIS)

    async def _replace(self, name: str, code: Code) -> None:
        await self.pair.programs[name].stop()
        await self._start(name, self.pair.programs[name].address, code)
        self.console.print(f"{name} is {'new' if code is THIS else 'old'}", style="dim")

    async def _start(self, name: str, listen: str, code: Code) -> None:
        is_node = name in NODES
        url = self.pair.metering_database_url if is_node else self.pair.control_database_url
        arguments = ["--listen", listen, "--database-url", url]
        if is_node:
            controls = ",".join(self.pair.programs[control].address for control in CONTROLS)
            arguments += ["--control", controls, "--node-name", name]
        module = "metering_service" if is_node else "control_service"
        self.pair.programs[name] = await start(module, arguments, self.pair.directory / f"{name}.log", code=code)

    def prepare(self) -> None:
        """An account with money whose default service has pay-as-you-go."""
        control = self.pair.programs[CONTROLS[0]].address
        for command in (
            "model create llama",
            "model publish-price llama --input 0.20 --output 0.60",
            "account create acme",
            "account top-up acme --amount 1000",
            "service enable-postpaid acme/default-llama",
        ):
            said = tallygate(*command.split(), "--control", control)
            assert said.status == 0, said.err


def code_of(build: Build) -> Code:
    """What its programs are run from."""
    return Code(build.python, build.root, build.environment())


async def run(against: Path, requests: int, console: Console) -> tuple[Outcome, dict[str, str], list[object]]:
    """Outcome of the replay, what refused to be downgraded, and what the audit found."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallygate-upgrade-")))
        control_url, metering_url, _ = await stack.enter_async_context(databases("postgresql", directory))
        pair = Pair(directory, control_url, metering_url)
        stack.push_async_callback(pair.kill)
        fleet = Fleet(pair, code_of(older(against)), console)
        await fleet.begin()
        await asyncio.to_thread(fleet.prepare)
        plan = ReplayPlan(
            service=SERVICE,
            control=pair.programs[CONTROLS[0]].address,
            metering=[pair.programs[node].address for node in NODES],
            run_id="upgrade-",
            servers=4,
            speed=1,
            report_every=5,
        )
        tally, trace = Tally(), synthesize(requests, seed=5, requests_per_second=REQUESTS_PER_SECOND)
        playing = asyncio.create_task(replay(trace, plan, tally, lambda _status: None))
        await _until_begun(tally, playing)
        await fleet.upgrade()
        await fleet.downgrade()
        why = tally.gave_up or "name more --requests"
        assert not playing.done(), f"the load ended before the fleet was upgraded and back: {why}"
        outcome = await playing
        await pair.stop()
        urls = ("--control-database-url", control_url, "--metering-database-url", metering_url)
        audit = await asyncio.to_thread(tallygate, "audit-books", *urls, "--json")
        return outcome, fleet.refused, audit.json["findings"]


async def _until_begun(tally: Tally, playing: "asyncio.Task[Outcome]") -> None:
    while not tally.finished and not playing.done():  # noqa: ASYNC110  # a tally has no event to wait for
        await asyncio.sleep(0.05)


def main() -> int:
    """0 if the books agree and no request was denied."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--against", type=Path, required=True, help="a checkout of the older version, with its .venv")
    parser.add_argument("--requests", type=int, default=2_000, help="of the load, 20 a second")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        outcome, refused, findings = asyncio.run(run(options.against, options.requests, Console(stderr=True)))
        figures = {**outcome.as_json(), "refused_to_downgrade": refused, "findings": findings}
        sys.stdout.write(json.dumps(figures, indent=2) + os.linesep)
        return 0 if outcome.reconciled and not outcome.tally.denied and not findings else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
