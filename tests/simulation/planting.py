"""The list of bugs that are planted on purpose: each must be found by the simulator."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

Mutation: TypeAlias = Callable[[], AbstractContextManager[Any]]
MUTATIONS: dict[str, Mutation] = {}
"""By name. Each docstring says in one sentence what is broken; inside the context it is."""


def mutation(make: Mutation) -> Mutation:
    """Puts it on the list."""
    MUTATIONS[make.__name__] = make
    return make
