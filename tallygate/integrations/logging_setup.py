"""The set-up of this library's log: some servers set the root logger so high that it would show nothing."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(levelname)s %(asctime)s %(name)s: %(message)s"
_DEFAULT_LEVEL = "INFO"


def ensure_log_output(level: str = "") -> None:
    """Gives the logger `tallygate` a level, and a handler where records would reach none.

    Args:
        level: Its level; where it is empty, INFO, unless somebody has configured that logger already.
    """
    logger = logging.getLogger("tallygate")
    is_configured = bool(logger.handlers) or logger.level != logging.NOTSET
    if level or not is_configured:
        logger.setLevel(level or _DEFAULT_LEVEL)
    if is_configured or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    # A root logger that is configured later would log it twice.
    logger.propagate = False
