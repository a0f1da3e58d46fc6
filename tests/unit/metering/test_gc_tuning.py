"""What runs for long is not searched for cycles again and again, and the rest of the process gets its settings back."""

import asyncio
import gc
from contextlib import suppress

from metering_service.gc_tuning import keep_search_short


class Ring:
    """A cycle by itself."""

    def __init__(self) -> None:
        self.itself = self


def is_searched(thing: object) -> bool:
    """Whether the next search, of all that is not left out, would look at it."""
    return any(each is thing for each in gc.get_objects())


async def test_only_what_is_new_is_searched_and_all_of_it_again_at_the_end() -> None:
    """What was checked once as new, and once more, is left out."""
    before = gc.get_threshold()
    # Here it is searched when this test says so, and not when enough was made by whoever ran before.
    gc.disable()
    task = asyncio.create_task(keep_search_short())
    await asyncio.sleep(0)
    try:
        kept = Ring()
        assert is_searched(kept)
        gc.collect(0)
        assert is_searched(kept)
        gc.collect(1)
        assert not is_searched(kept)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gc.enable()
    assert is_searched(kept)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    gc.collect(1)
    assert gc.get_freeze_count() == 0
