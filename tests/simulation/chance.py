"""All of a simulation's luck: one generator of random numbers, made from the seed, and a tally of what struck."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """`rates`: of each fault, how likely it strikes each time when it could."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.rates: Mapping[str, float] = {}
        self.struck: Counter[str] = Counter()
        self.calm = False
        """Nothing goes wrong any more."""

    def strikes(self, fault: str) -> bool:
        """Whether this fault strikes here and now."""
        rate = self.rates.get(fault, 0.0)
        # Drawn also when it cannot strike, so that a rate changes no other draw.
        hit = self._random.random() < rate and not self.calm
        if hit:
            self.note(fault)
        return hit

    def note(self, fault: str) -> None:
        """It struck."""
        self.struck[fault] += 1

    def latency_s(self) -> float:
        """How long a message or a database takes: mostly a millisecond, now and then much longer."""
        draw = self._random.random()
        return 0.0002 + 0.002 * draw if draw < 0.98 else 0.002 + 0.2 * self._random.random()

    def uniform(self, low: float, high: float) -> float:
        """A time between the two."""
        return self._random.uniform(low, high)

    def integer(self, low: int, high: int) -> int:
        """Both included."""
        return self._random.randint(low, high)

    def pick(self, items: Sequence[T]) -> T:
        """One of them."""
        return items[self._random.randrange(len(items))]

    def once_in(self, count: int) -> bool:
        """Of so many times, once."""
        return self._random.randrange(count) == 0
