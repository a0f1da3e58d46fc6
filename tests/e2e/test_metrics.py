"""The metrics of running programs: all that the page lists, nothing else, and nothing of any single account."""

import asyncio
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tallygate.client import MeteringClient
from tests.harness.client.patient import PATIENT
from tests.harness.metrics_page import documented
from tests.harness.patience import PATIENCE_S, until
from tests.harness.programs.one_service import SERVICE, enable, meter_one
from tests.harness.programs.programs import Pair, Program, start
from tests.harness.programs.requests import begun

BOUNDED = {
    *("build", "python", "version", "generation", "le"),
    *("code", "method", "name", "state", "status", "use", "currency"),
    *("verdict", "reason", "form", "final", "of", "payer", "kind"),
}
"""Labels whose values are of the program, a list in the contract, or a bound in the code."""
OURS = re.compile("acme|llama|r-[0-9]")
"""Texts that only an account, a service or a request of this test has."""


def metrics_address(program: Program) -> str:
    return metrics_addresses(program)[-1]


def metrics_addresses(program: Program) -> list[str]:
    """Where it serves metrics, or its workers do."""
    return [str(line["address"]) for line in program.logged() if line["event"] == "metrics_served"]


async def scrape(program: Program) -> Mapping[str, Metric]:
    """What it tells, by the name that is exposed."""

    def fetch() -> str:
        with urllib.request.urlopen(f"http://{metrics_address(program)}/metrics") as response:
            return str(response.read().decode())

    families = text_string_to_metric_families(await asyncio.to_thread(fetch))
    return {family.name + ("_total" if family.type == "counter" else ""): family for family in families}


def value(families: Mapping[str, Metric], name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    return sum(
        sample.value
        for sample in families[name].samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def has_looked(control: Mapping[str, Metric]) -> bool:
    """Whether control is ready, has looked at its database, and hears from a node."""
    ready = control["tallygate_ready"].samples
    return (
        "tallygate_control_services" in control
        and value(control, "tallygate_control_nodes", state="live") > 0
        and value(control, "tallygate_ready") == len(ready) > 0
    )


async def start_both(directory: Path) -> Pair:
    """Both services on SQLite, each with an address for metrics."""
    pair = Pair(directory, f"sqlite:///{directory / 'c.sqlite3'}", f"sqlite:///{directory / 'm.sqlite3'}")
    told = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    try:
        for name, module, arguments in (
            ("control", "control_service", ("--database-url", pair.control_database_url)),
            ("node-1", "metering_service", ("--database-url", pair.metering_database_url)),
        ):
            to_control = ("--control", pair.control.address) if name == "node-1" else ()
            pair.programs[name] = await start(module, [*told, *arguments, *to_control], directory / f"{name}.log")
    except BaseException:
        await pair.kill()
        raise
    return pair


async def test_the_page_lists_what_is_told(tmp_path: Path) -> None:
    """Every metric with its type and labels. What requests did is counted, and no label grows with accounts."""
    pair = await start_both(tmp_path)
    try:
        await enable(pair)
        await meter_one(pair.metering, "r-1")
        async with MeteringClient(pair.metering.address, settings=PATIENT) as client:
            request = await begun(client, SERVICE, input_tokens=10, request_id="r-2")
            request.output(5)
            request.finish()
        node, control = await scrape(pair.metering), await scrape(pair.control)
        async with asyncio.timeout(PATIENCE_S):
            while value(node, "tallygate_node_requests_booked_total") < 2:
                node = await scrape(pair.metering)
            # The database is looked at now and then; the node may have come after the last look.
            while not has_looked(control):
                control = await scrape(pair.control)
        await pair.stop()
    finally:
        await pair.kill()

    told = {name: family for name, family in {**control, **node}.items() if name.startswith("tallygate_")}
    listed = {
        name: facts for name, facts in documented().items() if not name.startswith(("tallygate_cl", "tallygate_mi"))
    }
    assert {name: family.type for name, family in told.items()} == {name: kind for name, (kind, _) in listed.items()}
    for family in (*control.values(), *node.values()):
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels <= BOUNDED, family.name
        if family.name.startswith("tallygate_") and family.samples:
            name = family.name + ("_total" if family.type == "counter" else "")
            assert labels - {"le"} <= listed[name][1], name
        assert not any(OURS.search(text) for sample in family.samples for text in sample.labels.values())

    assert value(node, "tallygate_node_tokens_by_kind_total", kind="input") == 110
    assert value(node, "tallygate_node_tokens_total", payer="billed") == 115
    assert value(node, "tallygate_node_decisions_total", verdict="ALLOW") >= 2
    assert value(node, "tallygate_node_lease_spent_units_total", kind="money") == 120_000
    assert value(node, "tallygate_node_streams_begun_total") == 1
    assert (
        value(control, "tallygate_rpcs_total", method="tallygate.control.v1.AccountService/CreateAccount", code="OK")
        == 1
    )
    assert value(control, "tallygate_control_nodes", state="live") == 1


async def test_workers_have_ports_of_their_own(tmp_path: Path) -> None:
    """The next ones after the one that is named; each tells of itself."""
    pair = Pair(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite3'}", f"sqlite:///{tmp_path / 'm.sqlite3'}")
    try:
        control = await pair.start_control()
        arguments = [
            *("--listen", "127.0.0.1:0", "--control", control.address, "--workers", "2"),
            *("--metrics-listen", "127.0.0.1:0", "--database-url", pair.metering_database_url),
        ]
        workers = pair.programs["workers"] = await start("metering_service", arguments, tmp_path / "workers.log")
        await until(lambda: len(set(metrics_addresses(workers))) == 2)
        assert (await scrape(workers))["tallygate_node_epoch"].samples[0].value == 1
        await pair.stop()
    finally:
        await pair.kill()
