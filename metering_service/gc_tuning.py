"""Python's search for reference cycles, kept short: decisions wait for it.

By itself it goes through everything again whenever a quarter has been added: with 10,000 open requests that took 80 to
170 ms, several times a minute. It finds next to nothing, since requests are freed by their reference counts. Hence what
has been looked at twice is left out from then on (`gc.freeze`), but for a search through all of it once in a while.
"""

import asyncio
import gc
from typing import Final

NEW_OBJECTS_MAX, SEARCHES_OF_NEW_MAX = 700, 5
"""Number of new objects after which they are searched, and number of such searches after which those that are left are
searched once more: some 3 ms, the longest wait."""
ALL_INTERVAL_S: Final = 900.0
"""Interval of the search through everything: cycles that survived both other searches, such as those which a broken
stream leaves, stay for at most this long."""


async def keep_search_short() -> None:
    """Leave out what was looked at twice, until cancelled; then all is as Python has it."""
    before = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS_MAX, SEARCHES_OF_NEW_MAX, before[2])
    gc.callbacks.append(_leave_out)
    try:
        while True:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            await asyncio.sleep(ALL_INTERVAL_S)
    finally:
        gc.callbacks.remove(_leave_out)
        gc.unfreeze()
        gc.set_threshold(*before)


def _leave_out(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 1:
        gc.freeze()
