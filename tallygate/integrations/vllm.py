"""A plugin of vLLM, loaded when it reads its options: mistakes show at once, not when the model has been loaded."""

from __future__ import annotations

import os
import sys

from tallygate._settings_file import with_settings_file
from tallygate.integrations import environment

MIDDLEWARE = "tallygate.integrations.asgi.MeteringMiddleware"


def check_early() -> None:
    """Ends vLLM before it begins if its options name the middleware, and the environment is not as it has to be.

    Raises:
        ValueError: All that is wrong with the environment.
    """
    if any(MIDDLEWARE in argument for argument in sys.argv):
        mistakes = environment.mistakes_in(with_settings_file(os.environ))
        if mistakes:
            raise ValueError("; ".join(mistakes))
