"""Runs one thing after another in processes of their own, and says so when one of them dies."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    function: Callable[[Item], Result], items: Sequence[Item], *, jobs: int, per_process: int
) -> Iterator[Result]:
    """What the function makes of each, in the order in which they end. A process runs some `per_process` of them.

    Then it is replaced: so its memory is bounded, and nothing of one run can reach another for long. Where one dies,
    the program ends with a sentence about it.
    """
    # Whole leases are replaced, as one whose processes end by themselves may wait for ever for the next (gh-115634).
    size = jobs * per_process
    for start in range(0, len(items), size):
        batch = items[start : start + size]
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as lease:
            futures = {lease.submit(function, item): item for item in batch}
            try:
                for future in as_completed(futures):
                    result = future.result()
                    del futures[future]
                    yield result
            except BrokenProcessPool:
                unknown = ", ".join(map(str, futures.values()))
                message = f"A process died, perhaps for want of memory, with these unfinished: {unknown}."
                raise SystemExit(message) from None
