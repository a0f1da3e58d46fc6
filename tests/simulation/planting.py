"""The list of bugs that are planted on purpose: each must be found by the simulator."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeAlias

Mutation: TypeAlias = Callable[[], AbstractContextManager[Any]]
MUTATIONS: dict[str, Mutation] = {}
"""By name. Each docstring says in one sentence what is broken; inside the context it is."""


def mutation(make: Mutation) -> Mutation:
    """Puts it on the list."""
    MUTATIONS[make.__name__] = make
    return make


@contextmanager
def together(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    """All of these at once."""
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield
