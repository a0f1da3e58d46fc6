"""Logs, structured, on stderr: stdout belongs to the line that says where the program serves."""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import structlog

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.call import call_fields

LogFormat: TypeAlias = Literal["json", "text"]

LogLevels: TypeAlias = Mapping[str, int]
"""The least level that is logged, by the name of a module and all below it; of everything else at the empty name."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_INFO: Final[LogLevels] = {"": logging.INFO}

# Never with the locals of frames: passwords and users' data are among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def parse_levels(text: str) -> LogLevels:
    """Levels as they are written: `info`, `warning,metering_service.usecases=debug`. Raises ConfigurationError."""
    levels = dict(_INFO)
    for part in text.split(","):
        module, _, level = part.strip().rpartition("=")
        if level.lower() not in _LEVELS:
            raise ConfigurationError(
                f'"{part.strip()}" in --log-level is no level: write one of {", ".join(_LEVELS)}, and with commas '
                "between them MODULE=LEVEL for single modules, such as metering_service.usecases=debug."
            )
        levels[module.strip()] = _LEVELS[level.lower()]
    return levels


def configure_logging(log_format: LogFormat, levels: LogLevels = _INFO) -> None:
    """Send the logs of this program and of its libraries to stderr in one format; a line of a call says which."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_call,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format)],
        ),
    )
    logging.basicConfig(handlers=[handler], level=levels[""], force=True)
    # alembic tells what it is about to look at, each time; what it changes is logged by the migration itself.
    for module, level in ({"alembic": max(levels[""], logging.WARNING)} | dict(levels)).items():
        logging.getLogger(module).setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _add_call(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for field, value in call_fields().items():
        event.setdefault(field, value)
    return event


def _renderers(log_format: LogFormat) -> list[Any]:
    if log_format == "json":
        return [_TRACEBACKS, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
