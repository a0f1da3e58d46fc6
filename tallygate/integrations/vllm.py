"""A plugin of vLLM, loaded when it reads its options: mistakes are said at once, not when the model has been loaded."""

from __future__ import annotations

import os
import sys

from tallygate.integrations import environment

MIDDLEWARE = "tallygate.integrations.asgi.MeteringMiddleware"


def check_early() -> None:
    """Ends vLLM before it begins if it is told to take the middleware, and the environment is not as it has to be.

    Raises:
        ValueError: All that is wrong with the environment.
    """
    if any(MIDDLEWARE in argument for argument in sys.argv):
        mistakes = environment.mistakes_in(os.environ)
        if mistakes:
            raise ValueError("; ".join(mistakes))
