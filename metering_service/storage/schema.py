"""Tables of the metering database. Text keys compare by code point on every database, so that orders agree."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    literal_column,
)
from sqlalchemy.types import TypeEngine

KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")
"""Token kinds in the order of `Counts`."""

PAYERS: Final = ("reserved", "trial", "billed", "unfunded")
"""Payers in the order in which they are asked, and what nobody paid for."""

BY_CODE_POINT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData()


def _key(name: str) -> Column[Any]:
    return Column(name, BY_CODE_POINT, primary_key=True)


def _number_key(name: str) -> Column[Any]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def _text(name: str) -> Column[Any]:
    return Column(name, BY_CODE_POINT, nullable=False)


def _team(*, is_key: bool = False) -> Column[Any]:
    """Id of the team that the service belonged to; empty for none, and of what is older than teams."""
    return Column("team", BY_CODE_POINT, primary_key=is_key, nullable=False, server_default="")


def _key_team(*, is_key: bool = False) -> Column[Any]:
    """Id of the team that the API key belonged to; empty for none."""
    return Column("key_team", BY_CODE_POINT, primary_key=is_key, nullable=False, server_default="")


def _hour(*, is_key: bool = False) -> Column[Any]:
    """The hour of UTC in which a request was authorised."""
    return Column("hour_us", BigInteger, primary_key=is_key, autoincrement=False, nullable=False, server_default="0")


def _flag(name: str) -> Column[Any]:
    return Column(name, Boolean, nullable=False)


def _number(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False)


def _index(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    """An index of those rows alone."""
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


def _tokens(prefix: str = "") -> list[Column[Any]]:
    return [_number(f"{prefix}{kind}_tokens") for kind in KINDS]


meta = Table("meta", metadata, _key("key"), _text("value"))
"""Facts about the database itself: `database_id`."""

nodes = Table(
    "nodes",
    metadata,
    _key("node"),
    _number("epoch"),
    _number("commit_no"),
    Column("holder", BY_CODE_POINT, nullable=False, server_default=""),
    Column("exchange_answered", BigInteger, nullable=False, server_default="0"),
    Column("answered_epoch", BigInteger, nullable=False, server_default="0"),
    Column("closed_below_epoch", BigInteger, nullable=False, server_default="0"),
)
"""The fence: the epoch that may write for a node, its last commit, and the process that has it (see `Registration`).

`exchange_answered` is the last exchange that control answered, in `answered_epoch`. Control has said that all leases of
epochs below `closed_below_epoch` are closed.
"""

epochs = Table(
    "epochs",
    metadata,
    _key("node"),
    _number_key("epoch"),
    _number("commit_no"),
    _number("exchange_answered"),
)
"""How far nodes had got in epochs that are over (see `EpochMark`)."""

requests = Table(
    "requests",
    metadata,
    _key("service"),
    _key("request_id"),
    _key("part"),
    _text("service_uid"),
    _text("node"),
    _number("epoch"),
    _text("state"),
    *_tokens(),
    *(_text(payer) for payer in PAYERS),
    _number("overrun_tokens"),
    _number("cost_nanos"),
    _number("debt_nanos"),
    _number("price_version"),
    Column("revision", Integer, nullable=False),
    _text("held"),
    _text("price"),
    _flag("debt_allowed"),
    _flag("estimated"),
    _text("credential"),
    _text("labels"),
    _number("start_us"),
    Column("settle_us", BigInteger),
    Column("predecessor_part", BY_CODE_POINT),
    _number("base_input_tokens"),
    _number("base_output_tokens"),
    Column("place", BigInteger),
    Column("ranks", Text, nullable=False, server_default="[]"),
    Column("hold_for_us", BigInteger, nullable=False, server_default="0"),
    _team(),
    _key_team(),
    _hour(),
    Column("pots", Text, nullable=False, server_default="[]"),
    Column("told", Text, nullable=False, server_default=""),
)
"""One row for each part of a request. A service's name is its first key, since names are never reused.

`{kind}_tokens` are the latest counts; of a request that runs, those at its `place` in `counts_pages` are later. What
each payer gave, `held` and `price` (nanos per million tokens) are JSON arrays of integers, in the order of `Counts` and
of `HeldUnits`, `[]` for all zero: a narrow row writes twice as fast. `labels`, here and below: a JSON object of texts,
keys sorted, no spaces. `ranks`: a JSON array of integers, `[]` where the counts rank as one report's (see
`RequestRecord.tally`). `credential` is the uid of an API key. `hour_us` is 0 where it is that of the part's start.
`pots`: a JSON array of the pots of limits that the request is charged to, each as `LimitPotKey`. `told`: a JSON array,
as `Cut`, or empty.
"""

# Written out, not a parameter: so it matches the condition of the index.
IS_OPEN: Final = requests.c.state == literal_column("'open'")

_index("requests_open", requests.c.node, requests.c.epoch, where=IS_OPEN)

rechecks = Table(
    "second_looks",
    metadata,
    _key("node"),
    _number_key("epoch"),
    _key("service"),
    _key("request_id"),
    _key("part"),
)
"""Parts that an epoch of a node booked unasked and has not checked once more (see `timeouts.time_out`)."""

resume_keys = Table(
    "resume_keys",
    metadata,
    _number_key("number"),
    _number("create_us"),
    Column("secret", LargeBinary, nullable=False),
)
"""The keys that sign resume tokens (see `KeyRing`)."""

counts_pages = Table(
    "counts_pages",
    metadata,
    _key("node"),
    _number_key("epoch"),
    _number_key("page"),
    Column("data", LargeBinary, nullable=False),
)
"""The latest counts of requests that run, many to a row (see `metering_service.domain.counts_page`)."""

services = Table(
    "services", metadata, _key("service_uid"), _key("service"), Column("model", Text, nullable=False, server_default="")
)
"""Which names there are records of, so that `requests` needs no second index to be found by a service's uid.

`model` is the resource name of the service's model; empty where no node has told it yet.
"""

leases = Table(
    "leases",
    metadata,
    _key("service"),
    _key("lease_id"),
    _text("service_uid"),
    _text("node"),
    _number("epoch"),
    _text("pot_kind"),
    _number("consumed_units"),
    _flag("closed"),
    Column("close_us", BigInteger),
    Column("limit_uid", BY_CODE_POINT, nullable=False, server_default=""),
    Column("member_uid", BY_CODE_POINT, nullable=False, server_default=""),
    Column("period_start_us", BigInteger, nullable=False, server_default="0"),
)
"""Consumption on each lease: tokens, or nanos where the pot is money.

Of a limit's pot, `service` is the account, there is no uid, and the last columns say which pot (see `LimitPotKey`).
"""

Index("leases_by_id", leases.c.lease_id)
_index("leases_open", leases.c.node, leases.c.epoch, where=leases.c.closed == false())
# Written once in a lease's life, when it is closed.
_index("leases_closed", leases.c.close_us, where=leases.c.closed)

minute_usage = Table(
    "minute_usage",
    metadata,
    _key("service"),
    _number_key("minute_us"),
    _key("service_uid"),
    _team(is_key=True),
    _key("credential"),
    _key("labels"),
    _key_team(is_key=True),
    _hour(is_key=True),
    *_tokens(),
    *(_number(f"{payer}_tokens") for payer in PAYERS),
    _number("overrun_tokens"),
    _number("cost_nanos"),
    _number("debt_nanos"),
    _number("request_count"),
)
"""Sums of what was booked in each minute, apart for each hour in which it was authorised.

What is old is in the first minute of its hour or day (see `roll_ups`); of a day, so is the hour of authorisation.
"""

minute_denials = Table(
    "minute_denials",
    metadata,
    _key("service"),
    _number_key("minute_us"),
    _key("service_uid"),
    _team(is_key=True),
    _key("credential"),
    _key("reason"),
    _key_team(is_key=True),
    _number("denial_count"),
)
"""Authorisations denied in each minute; what is old, as in `minute_usage`."""

roll_ups = Table("roll_ups", metadata, _number_key("step_us"), _number("begun_us"), _number("done_us"))
"""Before when sums may be by steps of an hour or a day instead of minutes, and before when they all are."""
