"""The compose file as far as it goes without containers: secrets are made, both services run by what it says."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import control_service.settings
import metering_service.settings
from tallygate._security import Security
from tallygate.probe import problem_of
from tests.harness.patience import until_found
from tests.harness.postgres import fresh_database
from tests.harness.programs.command import tallygate
from tests.harness.programs.one_service import enable_at
from tests.harness.programs.programs import Pair, start

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose" / "compose.yaml"


def make_secrets(command: str, folder: Path, shell: Sequence[str] = ("sh", "-euc")) -> None:
    """Runs what the container `secrets` runs, in a folder of ours."""
    script = command.replace("$$", "$").replace("/secrets", str(folder))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run([*shell, script], check=True, capture_output=True, env={**os.environ, "PATH": path})


def without_owner(command: str) -> str:
    """The same, with all files left to whoever runs this test."""
    return re.sub(r"^chown .*$", "", command, flags=re.MULTILINE)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root gives files away, by setpriv")
def test_secrets_are_given_away_at_every_start(tmp_path: Path) -> None:
    """With no more rights than the container has: after a `down` it runs over files that are its own no more."""
    container = yaml.safe_load(COMPOSE.read_text())["services"]["secrets"]
    rights = ",".join(["-all", *(f"+{name.lower()}" for name in container["cap_add"])])
    folder = tmp_path / "secrets"
    folder.mkdir()
    command = ["setpriv", "--bounding-set", rights, "--inh-caps", rights, "sh", "-euc"]
    for _ in range(2):
        make_secrets(container["command"][0], folder, command)
    assert {path.stat().st_uid for path in folder.rglob("*")} == {65532}


def said(module: Any, variables: Mapping[str, str]) -> list[str]:
    """The options that say the same as these variables."""
    found = []
    for action in module._options({}).parser._actions:
        name = re.search(r"\[(TALLYGATE_\w+)", action.help or "")
        if name and name[1] in variables:
            found += [action.option_strings[0], variables[name[1]]]
    assert len(found) == 2 * len(variables)
    return found


async def is_well(*probed: str) -> bool:
    """Whether the probe, which waits for no slow machine, has nothing to say."""
    return not await asyncio.to_thread(problem_of, *probed)


async def has_no_complaint(*command: str) -> bool:
    """Whether the doctor finds nothing: a node that is busy may be behind for a moment."""
    examined = await asyncio.to_thread(tallygate, *command)
    return (examined.status, examined.json["found"]) == (0, [])


async def test_the_pair_runs_as_the_file_says(tmp_path: Path, postgres_url: str) -> None:
    """A second start makes no new secrets; probes succeed, a request is let in, and the doctor has no complaint."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for _ in range(2):
        await asyncio.to_thread(make_secrets, without_owner(services["secrets"]["command"][0]), secrets)
    assert (secrets / "pgpass").read_text().strip().endswith((secrets / "postgres-password").read_text())

    def variables(name: str, **ours: str) -> dict[str, str]:
        stated = {key: value.replace("/secrets", str(secrets)) for key, value in services[name]["environment"].items()}
        return {key: re.sub(r"^0\.0\.0\.0:\d+$", "127.0.0.1:0", value) for key, value in {**stated, **ours}.items()}

    security = Security(ca_file=secrets / "tls" / "ca.pem", token_file=secrets / "operator.token")
    async with fresh_database(postgres_url) as control_url, fresh_database(postgres_url) as metering_url:
        pair = Pair(tmp_path, control_url, metering_url)
        try:
            options = said(control_service.settings, variables("control", TALLYGATE_CONTROL_DATABASE_URL=control_url))
            control = await start("control_service", options, tmp_path / "control.log", security)
            pair.programs["control"] = control
            ours = {
                "TALLYGATE_METERING_DATABASE_URL": metering_url,
                "TALLYGATE_CONTROL_ADDRESS": control.mtls_address.replace("0.0.0.0", "127.0.0.1"),  # noqa: S104  # if so
            }
            options = said(metering_service.settings, variables("metering", **ours))
            node = await start("metering_service", options, tmp_path / "metering.log", security)
            pair.programs["node-1"] = node
            for name, program in (("control", control), ("metering", node)):
                asked = services[name]["healthcheck"]["test"][-1]
                await until_found(partial(is_well, program.address, asked, str(security.ca_file)))
            assert "does not answer" in await asyncio.to_thread(problem_of, control.address, "", "")
            await enable_at(control.address, security)
            proof = ("--ca", str(security.ca_file), "--token-file", str(security.token_file))
            where = ("--control", control.address, "--metering", node.address, "--json")
            await until_found(partial(has_no_complaint, *proof, "doctor", *where))
            await pair.stop()
        finally:
            await pair.kill()


@pytest.mark.parametrize("wrong", ["127.0.0.1", "127.0.0.1:1"])
def test_a_probe_says_what_is_wrong(wrong: str) -> None:
    """In a sentence, whether the address is none or nobody is there."""
    assert problem_of(wrong, "", "")
