"""Levels of logs, as they are written; and what a line of a call says of it."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.call import TRACEPARENT_KEY, Call, call_fields, current_trace_id, set_call
from tallygate._server.process.logs import configure_logging, parse_levels


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Leaves the loggers of this process as they were."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before, level
    for name in ("alembic", "tests.quiet", "tests.loud"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


class Metadata:
    """The context of a call with this metadata."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def invocation_metadata(self) -> Any:
        return self._pairs


def test_levels_are_written_for_all_and_for_modules() -> None:
    """Those of modules come after commas; the names of levels in any letters."""
    assert parse_levels("WARNING, control_service.usecases=debug") == {
        "": logging.WARNING,
        "control_service.usecases": logging.DEBUG,
    }
    assert parse_levels("sqlalchemy=error") == {"": logging.INFO, "sqlalchemy": logging.ERROR}


@pytest.mark.parametrize("wrong", ["loud", "", "info,metering_service=", "metering_service"])
def test_what_is_no_level_is_said(wrong: str) -> None:
    """With the levels that there are."""
    with pytest.raises(ConfigurationError, match="in --log-level is no level: write one of debug, info"):
        parse_levels(wrong)


@pytest.mark.usefixtures("logging_restored")
def test_a_module_has_its_own_level(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything below it as well; others have the level of all."""
    configure_logging("json", parse_levels("warning,tests.loud=debug"))
    structlog.get_logger("tests.quiet").info("not_said")
    structlog.get_logger("tests.loud.part").debug("said")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["said"]


@pytest.mark.usefixtures("logging_restored")
async def test_a_line_of_a_call_has_its_trace_id(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller's, and the method; a line outside of any call has neither. Libraries' lines have it, too."""
    configure_logging("json")
    assert call_fields() == {}
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    set_call(Call("/a.B/C", Metadata(("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"))))  # type: ignore[arg-type]
    structlog.get_logger("tests.loud").info("ours")
    logging.getLogger("tests.quiet").warning("theirs")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["method"], line["trace_id"]) for line in lines] == [("/a.B/C", trace_id)] * 2


async def test_a_call_without_a_trace_has_an_id_of_its_own() -> None:
    """The same in all of its lines, and another one than the next call's."""
    set_call(Call("/a.B/C", Metadata(("traceparent", "nonsense"))))  # type: ignore[arg-type]
    first = current_trace_id()
    assert current_trace_id() == first == call_fields()["trace_id"]
    set_call(Call("/a.B/C", Metadata()))  # type: ignore[arg-type]
    assert current_trace_id() != first


@pytest.mark.usefixtures("logging_restored")
async def test_a_call_that_has_ended_is_read_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    """What it began goes on, and logs; gRPC has taken its metadata away, so that they would be other bytes."""
    configure_logging("json")
    metadata = Metadata((TRACEPARENT_KEY, "nonsense"))
    set_call(call := Call("/a.B/C", metadata))  # type: ignore[arg-type]
    call.end("OK")
    metadata.invocation_metadata = pytest.fail  # type: ignore[method-assign]
    structlog.get_logger("tests.loud").info("later")
    (line,) = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert "method" not in line
    assert "trace_id" not in line
