"""Fixed queries: what goes around SQLAlchemy finds what goes through it, in the same transaction."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, Text, bindparam, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database import fixed_query
from tallygate._server.database.driver_errors import is_unavailable
from tallygate._server.database.engine import create_engine, read_only
from tallygate._server.database.fixed_query import FixedQuery
from tests.harness.patience import PATIENCE_S
from tests.harness.postgres import fresh_database

lines = Table("lines", MetaData(), Column("n", BigInteger), Column("name", Text), Column("done", Boolean))
FROM = select(lines).where(lines.c.n >= bindparam("least"), lines.c.name != "left out").order_by(lines.c.n)
QUERY = FixedQuery(FROM)
SLEEP = FixedQuery(select(func.pg_sleep(bindparam("for_s", type_=BigInteger)).label("slept")))
CHANGE = FixedQuery(
    update(lines).where(lines.c.n == bindparam("least")).values(n=lines.c.n + 10, done=True).returning(lines)
)
ROWS: list[dict[str, Any]] = [
    {"n": 1, "name": "a", "done": True},
    {"n": 2, "name": "b", "done": False},
    {"n": 3, "name": None, "done": None},
]
WANTED = ROWS[:2]


async def fill(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(lines.create)
        await connection.execute(insert(lines), [*ROWS, {"n": 4, "name": "left out", "done": True}])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What drivers are asked."""
    texts: list[str] = []
    ask = fixed_query.asked

    async def noted(driver, query, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # as it is
        texts.append(query)
        return await ask(driver, query, values)

    monkeypatch.setattr(fixed_query, "asked", noted)
    return texts


async def test_rows_are_as_sqlalchemy_has_them(engine: AsyncEngine, asked: list[str]) -> None:
    """Booleans too, which SQLite keeps as numbers; and values that are part of the statement."""
    await fill(engine)
    async with read_only(engine) as connection:
        through = [dict(row) for row in (await connection.execute(FROM, {"least": 1})).mappings()]
        around = await QUERY.rows(connection, {"least": 1})
        assert around == through == WANTED
        assert [type(row["done"]) for row in around] == [bool, bool]
        assert await QUERY.rows(connection, {"least": 2}) == WANTED[1:]
    assert len(asked) == 2


async def test_a_transaction_that_begins_with_it_sees_one_moment(engine: AsyncEngine) -> None:
    """Whichever way its queries go."""
    await fill(engine)
    async with read_only(engine) as reader:
        assert await QUERY.rows(reader, {"least": 1}) == WANTED
        async with engine.begin() as writer:
            await writer.execute(insert(lines), {"n": 5, "name": "e", "done": True})
            assert len(await QUERY.rows(writer, {"least": 1})) == 3
        assert await QUERY.rows(reader, {"least": 1}) == WANTED
        assert len((await reader.execute(FROM, {"least": 1})).all()) == 2
    async with read_only(engine) as reader:
        assert len(await QUERY.rows(reader, {"least": 1})) == 3


async def test_what_is_changed_is_found(engine: AsyncEngine, asked: list[str]) -> None:
    """By the statement that begins the transaction and by one after it; with the transaction it stays, or goes."""
    await fill(engine)
    async with engine.begin() as connection:
        assert await CHANGE.rows(connection, {"least": 2}) == [{"n": 12, "name": "b", "done": True}]
        assert await CHANGE.rows(connection, {"least": 12}) == [{"n": 22, "name": "b", "done": True}]
    with pytest.raises(RuntimeError):
        async with engine.begin() as connection:
            await CHANGE.rows(connection, {"least": 1})
            raise RuntimeError
    async with read_only(engine) as connection:
        assert await QUERY.rows(connection, {"least": 1}) == [ROWS[0], {"n": 22, "name": "b", "done": True}]
    assert len(asked) >= 1


async def test_a_connection_that_is_lost_half_way_is_not_used_again(postgres_url: str) -> None:
    """That the database does not answer is said, and the next transaction has another connection."""
    async with fresh_database(postgres_url) as url:
        engine, other = create_engine(url), create_engine(url)
        await fill(engine)
        with pytest.raises(Exception, match=r"clos|terminat") as caught:
            async with read_only(engine) as connection:
                pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                async with other.begin() as killer:
                    await killer.execute(text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": pid})
                await QUERY.rows(connection, {"least": 1})
        assert is_unavailable(caught.value)
        async with read_only(engine) as connection:
            assert await QUERY.rows(connection, {"least": 1}) == WANTED
        await engine.dispose()
        await other.dispose()


async def test_an_answer_that_nobody_waits_for_is_not_the_next_one_s(postgres_url: str) -> None:
    """A caller that goes away leaves a connection that is as good as before, or is not used again."""
    async with fresh_database(postgres_url) as url:
        engine = create_engine(url, 3)
        await fill(engine)
        asked = asyncio.Event()

        async def ask() -> None:
            async with read_only(engine) as connection:
                assert await QUERY.rows(connection, {"least": 1}) == WANTED
                asked.set()
                await SLEEP.rows(connection, {"for_s": 3_600})

        task = asyncio.create_task(ask())
        async with asyncio.timeout(PATIENCE_S):
            await asked.wait()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with read_only(engine) as connection:
            assert await QUERY.rows(connection, {"least": 1}) == WANTED
            assert await QUERY.rows(connection, {"least": 2}) == WANTED[1:]
        await engine.dispose()
