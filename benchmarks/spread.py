"""How latencies are spread."""

from collections.abc import Sequence

POINTS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The smallest value that so many are not above; nothing of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in POINTS.items()}
