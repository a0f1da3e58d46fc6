"""A process's clocks on simulated time: one that drifts, and one that somebody sets."""

from dataclasses import dataclass

from tests.simulation.loop import SimulatedLoop

MILLION = 1_000_000
MONOTONIC_START_NS = 1_000_000_000


@dataclass(slots=True)
class SimulatedClock:
    """`Clock`. `drift_ppm`: how much faster than the others it runs. `offset_us`: by how much its wall clock is off."""

    loop: SimulatedLoop
    drift_ppm: int = 0
    offset_us: int = 0

    def now_us(self) -> int:
        """The wall clock of one process, in microseconds since 1970."""
        return self.loop.start_us + self.offset_us + self._elapsed_us()

    def monotonic_ns(self) -> int:
        """The monotonic clock of one process, its drift included, in nanoseconds."""
        return MONOTONIC_START_NS + self._elapsed_us() * 1_000

    def _elapsed_us(self) -> int:
        true_us = round(self.loop.now_s * MILLION)
        return true_us + true_us * self.drift_ppm // MILLION
