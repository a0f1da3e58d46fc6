"""What a program is told is checked before it touches anything: no database is migrated, no folder made."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_S

SERVICES = ("control_service", "metering_service")


async def ends(directory: Path, arguments: Sequence[str], variables: dict[str, str] | None = None) -> tuple[int, str]:
    """How a program that cannot start ends: its exit status, and what it says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYGATE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env={**environment, "PYTHONPATH": str(Path.cwd()), **(variables or {})},
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        process.terminate()
        await process.communicate()
        pytest.fail(f"{arguments} started")
    assert process.returncode is not None
    return process.returncode, said.decode()


def untouched(directory: Path) -> bool:
    """Whether nothing was made in it."""
    return not list(directory.iterdir())


@contextmanager
def taken() -> Iterator[str]:
    """An address that another program has."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_cannot_start_touches_nothing(service: str, tmp_path: Path) -> None:
    """One sentence that names what is wrong, exit status 2, and the directory is as it was."""
    with taken() as address:
        wrong: list[tuple[list[str], str]] = [
            (["--listen", "nonsense"], '"nonsense" is no address'),
            (["--listen", "127.0.0.1:65536"], "is no address"),
            (["--listen", "0.0.0.0:0"], "Refusing to listen"),
            (["--listen", address], f"Cannot listen on {address}"),
            (["--nonsense"], "There is no option --nonsense"),
            (["--data-dir"], "--data-dir: expected one argument"),
            (["--log-format", "xml"], "--log-format"),
            (["--database-url", "mysql://u:secret@h/d"], "not supported"),
        ]
        ended = await asyncio.gather(*(ends(tmp_path, [service, *arguments]) for arguments, _ in wrong))
    for (arguments, sentence), (status, said) in zip(wrong, ended, strict=True):
        assert (status, said.count("\n")) == (2, 1), (arguments, said)
        assert sentence in said
        assert "secret" not in said
    assert untouched(tmp_path)


async def test_a_node_that_cannot_start_touches_nothing(tmp_path: Path) -> None:
    """What only a node has: its name, control's addresses, workers and their ports."""
    with taken() as address:
        port = int(address.rpartition(":")[2])
        wrong: list[tuple[list[str], dict[str, str]]] = [
            (["--workers", "0"], {}),
            (["--workers", "many"], {}),
            ([], {"TALLYGATE_METERING_WORKERS": "many"}),
            ([], {"TALLYGATE_INSECURE": "yes"}),
            ([], {"TALLYGATE_LOG_FORMAT": "xml"}),
            (["--node-name", "A b"], {}),
            (["--control", "nowhere"], {}),
            (["--control", "127.0.0.1:99999"], {}),
            (["--listen", f"127.0.0.1:{port - 2}", "--workers", "2"], {}),
        ]
        ended = await asyncio.gather(*(ends(tmp_path, ["metering_service", *told], env) for told, env in wrong))
    for told, (status, said) in zip(wrong, ended, strict=True):
        assert (status, said.count("\n")) == (2, 1), (told, said)
    assert untouched(tmp_path)


async def test_up_touches_nothing_unless_both_can_start(tmp_path: Path) -> None:
    """Control would come first, and have a database by the time at which the node finds its own address taken."""
    with taken() as address:
        wrong: list[tuple[list[str], dict[str, str]]] = [
            (["--metering", address], {}),
            (["--control", "0.0.0.0:0"], {}),
            (["--control", "127.0.0.1:7999", "--metering", "127.0.0.1:7999"], {}),
            (["--control", "127.0.0.1:0", "--metering-database-url", "mysql://u:secret@h/d"], {}),
            (["--control", "127.0.0.1:0", "--metering", "127.0.0.1:0"], {"TALLYGATE_METERING_WORKERS": "many"}),
        ]
        ended = await asyncio.gather(*(ends(tmp_path, ["tallygate.cli", "up", *told], env) for told, env in wrong))
    for told, (status, said) in zip(wrong, ended, strict=True):
        assert status in {1, 2}, (told, said)
        assert "Traceback" not in said
        assert "secret" not in said
    assert untouched(tmp_path)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_check_touches_nothing_either(service: str, tmp_path: Path) -> None:
    """It says nothing where nothing is wrong."""
    assert await ends(tmp_path, [service, "--listen", "127.0.0.1:0", "--check"]) == (0, "")
    status, said = await ends(tmp_path, [service, "--listen", "nonsense", "--check"])
    assert (status, said.count("\n")) == (2, 1)
    assert untouched(tmp_path)
