"""A synthetic workload, used without a trace: seeded, with token counts spread as those of real services are."""

from __future__ import annotations

import random

from tallygate.replay.trace import Trace

CONTEXT_TOKENS_MEDIAN = 1_200
GENERATED_TOKENS_MEDIAN = 60
_STEPS = 16
_TOKENS_MAX = 32_000


def synthesize(requests: int, *, seed: int, requests_per_second: int) -> Trace:
    """A workload of `requests` that come at random moments, at the given rate on average."""
    source = random.Random(seed)  # noqa: S311  # a workload to be repeated, not a secret
    trace = Trace()
    offset_us = 0
    for _ in range(requests):
        trace.append(offset_us, _length(source, CONTEXT_TOKENS_MEDIAN), _length(source, GENERATED_TOKENS_MEDIAN))
        offset_us += source.randrange(2 * 1_000_000 // requests_per_second)
    return trace


def _length(source: random.Random, median: int) -> int:
    """A length whose logarithm is spread like a bell: each coin of sixteen moves it half an octave or so."""
    heads = source.getrandbits(_STEPS).bit_count() - _STEPS // 2
    length = median
    for _ in range(abs(heads)):
        length = length * 3 // 2 if heads > 0 else length * 2 // 3
    return max(1, min(_TOKENS_MAX, length * source.randrange(80, 121) // 100))
