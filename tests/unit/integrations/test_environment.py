"""What the environment says is read at once, whole, and said in sentences that name the variable."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallygate.integrations import environment, vllm
from tallygate.integrations.logging_setup import ensure_log_output
from tallygate.integrations.services import load_service_map

GOOD = {"TALLYGATE_METERING_ADDRESSES": "127.0.0.1:7402, node:7402", "TALLYGATE_SERVICE": "accounts/a/services/b"}
WRONG = [
    ("TALLYGATE_METERING_ADDRESSES", "node"),
    ("TALLYGATE_METERING_ADDRESSES", "http://node:7402"),
    ("TALLYGATE_METERING_ADDRESSES", "node:70000"),
    ("TALLYGATE_SERVICE", "chat"),
    ("TALLYGATE_SERVICES", "/nowhere/services.toml"),
    ("TALLYGATE_ON_UNREACHABLE", "maybe"),
    ("TALLYGATE_ANSWER_MS", "5s"),
    ("TALLYGATE_BODY_BYTES_MAX", "-1"),
    ("TALLYGATE_STREAM_USAGE", "always"),
    ("TALLYGATE_WHOLE_ANSWERS", "fetch"),
    ("TALLYGATE_CA", "/nowhere/ca.pem"),
    ("TALLYGATE_CERT", "/nowhere/cert.pem"),
    ("TALLYGATE_KEY", "/nowhere/key.pem"),
    ("TALLYGATE_TOKEN_FILE", "/nowhere/token"),
    ("TALLYGATE_ROUTES", "POST /a"),
    ("TALLYGATE_LOG_LEVEL", "loud"),
    ("TALLYGATE_SERVISE", "accounts/a/services/b"),
]


def clean(**more: str) -> dict[str, str]:
    """This environment without variables of ours, and with these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TALLYGATE_")} | more


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The library's logger as nobody has configured it; put back afterwards."""
    logger = logging.getLogger("tallygate")
    before = logger.level, logger.handlers, logger.propagate
    logger.level, logger.handlers, logger.propagate = logging.NOTSET, [], True
    yield logger
    logger.level, logger.handlers, logger.propagate = before


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_mistake_is_a_sentence_that_names_the_variable(variable: str, value: str) -> None:
    """Also where another variable was meant."""
    assert environment.mistakes_in(GOOD) == []
    (mistake,) = environment.mistakes_in({**GOOD, variable: value})
    assert variable in mistake


def test_all_mistakes_are_said_at_once() -> None:
    """Nobody has to start a server for each."""
    assert len(environment.mistakes_in({name: value or "x" for name, value in WRONG})) == 11
    assert [mistake.split()[0] for mistake in environment.mistakes_in({})] == ["TALLYGATE_METERING_ADDRESSES"]


@pytest.mark.parametrize(("variable", "value"), [pair for pair in WRONG if pair[1] and pair[0] != "TALLYGATE_SERVISE"])
def test_taking_the_module_fails_where_something_is_wrong(variable: str, value: str) -> None:
    """Servers make their middleware only when their model has been loaded."""
    with pytest.raises(ValueError, match=variable):
        environment.check_what_is_set({variable: value})
    environment.check_what_is_set({})


def test_the_import_itself_fails() -> None:
    """In a process of its own, as a server's."""
    command = [sys.executable, "-c", "import tallygate.integrations.asgi"]
    done = subprocess.run(command, env=clean(TALLYGATE_ANSWER_MS="5s"), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("ValueError: TALLYGATE_ANSWER_MS is 5s")


def test_vllm_ends_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plugins are loaded when it reads its options; without the middleware, nothing is asked of anybody."""
    for name in list(os.environ):
        if name.startswith("TALLYGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["vllm", "serve", "llama"])
    vllm.check_early()
    monkeypatch.setattr(sys, "argv", ["vllm", "serve", "llama", f"--middleware={vllm.MIDDLEWARE}"])
    with pytest.raises(ValueError, match="TALLYGATE_METERING_ADDRESSES"):
        vllm.check_early()


HEARD = """
import asyncio
import logging
{before}
from tallygate.client import MeteringClient
from tallygate.integrations.asgi import MeteringMiddleware

async def app(scope, receive, send):
    for kind in ("startup", "shutdown"):
        await receive()
        await send({{"type": f"lifespan.{{kind}}.complete"}})

async def serve():
    async def receive():
        return {{}}
    async def send(message):
        pass
    await MeteringMiddleware(app, client=MeteringClient("127.0.0.1:1"), services="accounts/a/services/b")(
        {{"type": "lifespan"}}, receive, send
    )

asyncio.run(serve())
logging.getLogger("tallygate.integrations.asgi").debug("a detail")
"""


@pytest.mark.parametrize(
    ("before", "variables", "lines"),
    [
        ("", {}, 1),
        ("logging.getLogger().setLevel(logging.ERROR)", {}, 1),
        ("logging.basicConfig(level=logging.ERROR)", {}, 1),
        ("logging.getLogger('tallygate').setLevel(logging.WARNING)", {}, 0),
        ("", {"TALLYGATE_LOG_LEVEL": "warning"}, 0),
        ("", {"TALLYGATE_LOG_LEVEL": "DEBUG"}, 2),
        ("logging.basicConfig(level=logging.ERROR)", {"TALLYGATE_LOG_LEVEL": "DEBUG"}, 2),
    ],
)
def test_a_line_at_the_start_says_what_is_metered(before: str, variables: dict[str, str], lines: int) -> None:
    """Also under a root logger that is silent, as vLLM's; unless somebody wants it otherwise."""
    command = [sys.executable, "-c", HEARD.format(before=before)]
    done = subprocess.run(command, env=clean(**variables), capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "tallygate.integrations.asgi" in line]
    assert len(said) == lines, done.stderr
    assert not said or "POST /v1/chat/completions" in said[0]


def test_a_logger_that_is_configured_stays_as_it_is(logger: logging.Logger) -> None:
    """Its handlers and where its records go are its owner's; a variable sets the level alone."""
    own = logging.NullHandler()
    logger.addHandler(own)
    ensure_log_output()
    assert (logger.level, logger.handlers, logger.propagate) == (logging.NOTSET, [own], True)
    ensure_log_output("DEBUG")
    assert (logger.level, logger.handlers, logger.propagate) == (logging.DEBUG, [own], True)


def test_a_service_map_says_which_services_follow_from_it(tmp_path: Path) -> None:
    """Those that are named, and those that keys and models make."""
    path = tmp_path / "services.toml"
    path.write_text(
        """
        [models]
        "Meta/Llama" = "llama"
        "m" = "mistral"
        [keys]
        "sk-acme" = "acme"
        "sk-team" = { account = "acme", services = { llama = "accounts/acme/services/team" } }
        "sk-batch" = { service = "accounts/acme/services/batch" }
        """
    )
    found = load_service_map(path)
    assert found.known_services() == [
        "accounts/acme/services/batch",
        "accounts/acme/services/default-llama",
        "accounts/acme/services/default-mistral",
        "accounts/acme/services/team",
    ]
