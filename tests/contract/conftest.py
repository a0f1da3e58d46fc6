"""PostgreSQL databases at the newest revision, each made once for all tests."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from tests.harness.migrated import migrate_url
from tests.harness.postgres import fresh_database


@pytest.fixture(autouse=True)
def patience(patient_databases: None) -> None:
    """What a transaction means does not depend on how long it takes."""


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[Callable[..., str]]:
    """URL of the database of some migrations, to be emptied after use; there is one for each purpose."""
    loop = asyncio.new_event_loop()
    with ExitStack() as stack:
        stack.callback(loop.close)
        # In a thread of its own: it is asked for while a test's loop runs.
        executor = stack.enter_context(ThreadPoolExecutor(1))

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            return executor.submit(loop.run_until_complete, work).result()

        @cache
        def made(migrations: str, _purpose: str = "rows") -> str:
            database = fresh_database(postgres_url)
            url: str = run(database.__aenter__())
            stack.callback(lambda: run(database.__aexit__(None, None, None)))
            run(migrate_url(url, migrations))
            return url

        yield made
