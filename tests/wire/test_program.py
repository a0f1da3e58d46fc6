"""A program's life: it announces itself, logs apart from that, and ends as it is told to."""

import json
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio
import structlog
from tallygate._server.process.logs import configure_logging
from tallygate._server.errors import ConfigurationError
from tallygate._server.process.run import announce, run

async def serve(stop):
    configure_logging("json")
    announce("127.0.0.1:7401")
    await stop.wait()
    try:
        raise ValueError("a bug")
    except ValueError:
        structlog.get_logger("test").exception("it failed", node="n1")

async def refuse(stop):
    raise ConfigurationError("The option is wrong; correct it.")

run({main})
"""


def start(main: str) -> "subprocess.Popen[str]":
    program = PROGRAM.replace("{main}", main)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it with exit code 0; stdout has the one line, stderr one JSON object for each event."""
    with start("serve") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving 127.0.0.1:7401\n"
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert stdout == ""
    (entry,) = (json.loads(line) for line in stderr.splitlines())
    assert (entry["event"], entry["level"], entry["logger"], entry["node"]) == ("it failed", "error", "test", "n1")
    assert entry["exception"][0]["exc_value"] == "a bug"


def test_what_keeps_it_from_starting_is_one_sentence() -> None:
    """A StartupError is a line on stderr and exit code 2; nobody is shown a traceback."""
    with start("refuse") as process:
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (2, "", "The option is wrong; correct it.\n")


LEAKY = """
import logging
import structlog
from tallygate._server.process.logs import configure_logging

configure_logging("{log_format}")

def inner(url):
    password = url
    raise ValueError("a bug")

def outer(url):
    try:
        inner(url)
    except ValueError as error:
        raise RuntimeError("another") from error

try:
    outer("postgresql://u:" + "s3" + "cret@h/d")
except RuntimeError:
    structlog.get_logger("ours").exception("it failed")
    logging.getLogger("theirs").exception("it failed")
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_in_the_log_has_no_locals(log_format: str) -> None:
    """They are whatever was at hand: database URLs, keys, what users sent."""
    done = subprocess.run(
        [sys.executable, "-c", LEAKY.replace("{log_format}", log_format)], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("it failed") == 2
    assert done.stderr.count("another") == 2
    assert "s3cret" not in done.stderr
    assert '"locals"' not in done.stderr
