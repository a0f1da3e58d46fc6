"""Many records of requests at once: written straight into the metering database, beside a node that has nothing to do.

One is made through the API, and its row is the pattern for all others, which are made by statements of SQL. The sums by
minute are worked out of the records, so that the books agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import CTE, BigInteger, ColumnElement, Insert, Text, cast, func, insert, literal, select

from benchmarks.accounts import MODEL
from metering_service.storage.schema import KINDS, minute_usage, requests, services
from tallygate._server.database.engine import create_engine

SPAN_US: Final = 12 * 3_600_000_000
"""Time over which the records of each service are spread, evenly."""

_ROWS_MAX: Final = 5_000
"""Number of rows of a statement, which may take 10 s on PostgreSQL."""
_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
_INPUT_NANOS, _OUTPUT_NANOS = 200, 600


def tokens_of(number: int) -> int:
    """Tokens of one of the many records."""
    return int(_input(number) + _output(number))


def _input(number: Any) -> Any:
    return number % 1_801 + 200


def _output(number: Any) -> Any:
    return number % 641 + 20


async def multiply_requests(url: str, pattern: str, names: Sequence[str], count: int, begin_us: int) -> None:
    """So many records like the one of the request of that id, the same number for each of these services.

    Each transaction is small, since others write meanwhile.
    """
    engine = create_engine(url)
    each = count // len(names)
    try:
        for number, name in enumerate(names):
            for statement in _statements(pattern, name, number * each, each, begin_us):
                async with engine.begin() as connection:
                    await connection.execute(statement)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("ANALYZE")
    finally:
        await engine.dispose()


def _statements(pattern: str, name: str, first: int, each: int, begin_us: int) -> Iterator[Insert]:
    uid = f"{first:032x}"
    for start in range(first, first + each, _ROWS_MAX):
        numbers = _numbers(start, min(start + _ROWS_MAX, first + each) - 1)
        number = cast(numbers.c.number, BigInteger)
        settle_us = literal(begin_us, BigInteger) + (number - first) * (SPAN_US // each)
        input_tokens, output_tokens = _input(number), _output(number)
        billed = literal("[") + cast(input_tokens, Text) + ",0,0," + cast(output_tokens, Text) + ",0]"
        yield _copies(
            pattern,
            numbers,
            {
                "service": literal(name),
                "service_uid": literal(uid),
                # In no order, as ids are that their servers make up.
                "request_id": literal("chatcmpl-9f3b1c7a52e84d06-") + cast(number * 2_654_435_761 % 2**32, Text),
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "billed": billed,
                "cost_nanos": input_tokens * _INPUT_NANOS + output_tokens * _OUTPUT_NANOS,
                "credential": literal("key-") + cast(number % 5, Text),
                "labels": literal('{"project":"p') + cast(number % 4, Text) + '"}',
                "start_us": settle_us - 2_000_000,
                "settle_us": settle_us,
            },
        )
    yield _sums(name)
    yield insert(services).values(service_uid=uid, service=name, model=MODEL)


def _copies(pattern: str, numbers: CTE, other: Mapping[str, ColumnElement[Any]]) -> Insert:
    """A row for each number. `other`: columns that differ from the pattern's, by the expression of their value."""
    like = requests.alias()
    names = [column.name for column in requests.c]
    rows = select(*(other.get(name, like.c[name]).label(name) for name in names))
    return insert(requests).from_select(names, rows.join_from(like, numbers, like.c.request_id == pattern))


def _numbers(first: int, last: int) -> CTE:
    begin = select(literal(first).label("number")).cte("numbers", recursive=True)
    return begin.union_all(select(begin.c.number + 1).where(begin.c.number < last))


def _sums(name: str) -> Insert:
    """The sums by minute of a service's records, all of which somebody pays for by the token."""
    its = requests.c
    keys = [
        its.service,
        (its.settle_us // _MINUTE_US * _MINUTE_US).label("minute_us"),
        *(its.service_uid, its.team, its.credential, its.labels, its.key_team),
        (its.settle_us // _HOUR_US * _HOUR_US).label("hour_us"),
    ]
    tokens = func.sum(its.input_tokens + its.output_tokens)
    sums = [
        *(func.sum(its[f"{kind}_tokens"]) for kind in KINDS),
        *(literal(0), literal(0), tokens, literal(0), func.sum(its.overrun_tokens)),
        *(func.sum(its.cost_nanos), func.sum(its.debt_nanos), func.count()),
    ]
    rows = select(*keys, *sums).where(its.service == name).group_by(*keys)
    return insert(minute_usage).from_select([column.name for column in minute_usage.c], rows)
