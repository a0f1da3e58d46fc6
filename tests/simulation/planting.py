"""The list of bugs that are planted on purpose: each must be found by the simulator."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeAlias

Mutation: TypeAlias = Callable[[], AbstractContextManager[Any]]
MUTATIONS: dict[str, Mutation] = {}
"""By name. Each docstring says in one sentence what is broken; inside the context it is."""

OF_PROOFS: set[str] = set()
"""Names of those that are looked for where servers have to prove who they are; the others' stories know no proofs."""


OF_LIMITS: set[str] = set()
"""Names of those that are looked for where accounts have limits, outside storms."""

OF_KEYS: set[str] = set()
"""Names of those that are looked for where end users show API keys as well."""

OF_CALM: set[str] = set()
"""Names of those that are looked for outside storms, where most requests end: in storms few get so far."""


def mutation(make: Mutation) -> Mutation:
    """Puts it on the list."""
    MUTATIONS[make.__name__] = make
    return make


def mutation_of_proofs(make: Mutation) -> Mutation:
    """The same, of what is looked for where servers have to prove who they are."""
    OF_PROOFS.add(make.__name__)
    return mutation(make)


def mutation_of_limits(make: Mutation) -> Mutation:
    """The same, of what is looked for where accounts have limits."""
    OF_LIMITS.add(make.__name__)
    return mutation_of_calm(make)


def mutation_of_keys(make: Mutation) -> Mutation:
    """The same, of what is looked for where end users show API keys, which have limits."""
    OF_KEYS.add(make.__name__)
    return mutation_of_limits(make)


def mutation_of_calm(make: Mutation) -> Mutation:
    """The same, of what is looked for outside storms."""
    OF_CALM.add(make.__name__)
    return mutation(make)


@contextmanager
def together(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    """All of these at once."""
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield
