"""What callers get to see of usage, whatever was booked: all of it that is theirs, and nothing else."""

import itertools
from collections import defaultdict
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering_service.domain.records import ShownRecord
from metering_service.domain.usage_scope import UsageScope
from metering_service.storage import SqlRecorder, SqlUsageReader
from tallygate._access.permission import Permission
from tallygate._access.rights import Right, Rights, Sight
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tests.harness.metering.records import (
    MINUTE_US,
    NODE,
    NOON_US,
    batch,
    denial,
    open_request,
    rows,
    settled_request,
    usage,
)

NUMBERS = itertools.count()
GROUPS = ("service", "service_uid", "team", "credential")
TEAMS = ("", "red", "blue")


class Use(NamedTuple):
    """Something that was used, or denied: `kind` says what row it makes."""

    kind: str
    account: int
    service: int
    team: str
    minute: int
    credential: str
    tokens: int


class Caller(NamedTuple):
    """What a caller sees, by account of an example: None: all of it; else the teams."""

    everywhere: bool
    accounts: frozenset[int]
    teams: frozenset[tuple[int, str]]

    def sees(self, account: int, team: str) -> bool:
        return self.everywhere or account in self.accounts or (account, team) in self.teams

    def sight(self, number: int) -> Sight:
        """By the roles that give it."""
        rights = [Right(Role.AUDITOR, PLATFORM)] if self.everywhere else []
        rights += [Right(Role.VIEWER, Scope(account_name(number, account))) for account in self.accounts]
        rights += [Right(Role.TEAM_MEMBER, Scope(account_name(number, account), team)) for account, team in self.teams]
        rights += [Right(Role.PRICING, PLATFORM), Right(Role.METER, PLATFORM)]
        return Rights(tuple(rights)).sight(Permission.USAGE_READ)


uses = st.builds(
    Use,
    st.sampled_from(["usage", "denial", "settled", "open"]),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from(TEAMS),
    st.integers(0, 2),
    st.sampled_from(["k1", "k2"]),
    st.integers(1, 9),
)
callers = st.builds(
    Caller,
    st.booleans(),
    st.frozensets(st.integers(0, 1), max_size=1),
    st.frozensets(st.tuples(st.integers(0, 1), st.sampled_from(["red", "blue"]))),
)
narrow = callers.filter(lambda caller: bool(caller.teams) and not caller.everywhere)
asked_teams = st.one_of(st.none(), st.frozensets(st.sampled_from(TEAMS), min_size=1))
asked_services = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([None, 0, 1])), min_size=1, max_size=3)
groups = st.lists(st.sampled_from(GROUPS), unique=True, max_size=3)


def account_name(number: int, account: int) -> str:
    return f"acme-{number}-{account}"


def name(number: int, account: int, service: int | None) -> str:
    of_account = f"accounts/{account_name(number, account)}"
    return of_account if service is None else f"{of_account}/services/s{service}"


def facts(number: int, use: Use) -> dict[str, str]:
    """What it can be grouped by."""
    service = name(number, use.account, use.service)
    uid = "uid-chat" if use.kind == "denial" else f"uid-{service}"
    return {"service": service, "service_uid": uid, "team": use.team, "credential": use.credential}


async def write(recorder: SqlRecorder, number: int, booked: list[Use]) -> dict[tuple[str, str], Use]:
    """Book it all; which record is whose, by service and request id."""
    epoch = await recorder.register_node(NODE)
    rows_of: defaultdict[object, list[object]] = defaultdict(list)
    records: dict[tuple[str, str], Use] = {}
    for index, use in enumerate(booked):
        service, request_id = name(number, use.account, use.service), f"r{index}"
        rows_of[use._replace(tokens=0)].append(row_of(use, facts(number, use), request_id))
        if use.kind in {"settled", "open"}:
            records[service, request_id] = use
    # No two rows of one commit have the same key.
    for commit_no, together in enumerate(itertools.zip_longest(*rows_of.values()), start=1):
        await recorder.commit(NODE, epoch, batch(commit_no, *together))
    return records


def row_of(use: Use, fact: dict[str, str], request_id: str) -> object:
    """What stands in the database for a use."""
    service, uid, team, credential = (fact[key] for key in GROUPS)
    if use.kind == "usage":
        return usage(use.minute, use.tokens, service=service, uid=uid, team=team, credential=credential)
    if use.kind == "denial":
        return denial(use.minute, use.tokens, service=service, team=team, credential=credential)
    record = settled_request if use.kind == "settled" else open_request
    return record(request_id, service=service, service_uid=uid, team=team, credential=credential)


Figures = dict[tuple[int, tuple[str, ...]], tuple[int, int]]


async def figures(
    reader: SqlUsageReader, scope: UsageScope, services: tuple[str, ...], group_by: tuple[str, ...] = ()
) -> Figures:
    """Output tokens and denials by minute and group, as the database has them."""
    found = await rows(reader, step=1, services=services, group_by=group_by, scope=scope)
    return {
        ((row.start_us - NOON_US) // MINUTE_US, tuple(value for _, value in row.group)): (
            row.totals.usage.output,
            sum(count for _, count in row.denials),
        )
        for row in found
    }


@pytest.mark.parametrize("who", ["of a team", "anybody"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), booked=st.lists(uses, max_size=10))
async def test_a_caller_gets_what_it_sees_and_nothing_else(
    recorder: SqlRecorder, reader: SqlUsageReader, who: str, data: st.DataObject, booked: list[Use]
) -> None:
    """By each figure, however it is asked for: what a filter of all that was booked gives."""
    number = next(NUMBERS)
    records = await write(recorder, number, booked)
    caller = data.draw(narrow if who == "of a team" else callers)
    teams, wanted = data.draw(asked_teams), data.draw(asked_services)
    group_by = tuple(data.draw(groups))
    scope = UsageScope(caller.sight(number), teams)

    def is_in(use: Use) -> bool:
        is_asked = (use.account, use.service) in wanted or (use.account, None) in wanted
        return is_asked and caller.sees(use.account, use.team) and (teams is None or use.team in teams)

    expected: defaultdict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(lambda: [0, 0])
    for use in booked:
        if use.kind in {"usage", "denial"} and is_in(use):
            cell = use.minute, tuple(facts(number, use)[group] for group in group_by)
            expected[cell][use.kind == "denial"] += use.tokens
    services = tuple(name(number, *one) for one in wanted)
    found = await figures(reader, scope, services, group_by)
    assert found == {cell: (tokens, denied) for cell, (tokens, denied) in expected.items()}
    for service in {service for service, _ in records}:
        own = [id_ for (of, id_), use in records.items() if of == service and is_seen(caller, teams, use)]
        assert [record.request_id for record in await walk(reader, service, scope)] == sorted(own)
    for (service, request_id), use in records.items():
        parts = await reader.request_parts(service, request_id, scope)
        assert [part.team for part in parts] == ([use.team] if is_seen(caller, teams, use) else [])


def is_seen(caller: Caller, teams: frozenset[str] | None, use: Use) -> bool:
    return caller.sees(use.account, use.team) and (teams is None or use.team in teams)


async def walk(reader: SqlUsageReader, service: str, scope: UsageScope) -> list[ShownRecord]:
    """All records of a service, in pages of two, of which only the last has room."""
    seen: list[ShownRecord] = []
    while True:
        after = (seen[-1].request_id, seen[-1].part) if seen else None
        page = await reader.list_requests(service, after, 2, scope)
        seen += page
        if len(page) < 2:
            return seen


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(booked=st.lists(uses, max_size=10))
async def test_what_all_teams_used_adds_up(recorder: SqlRecorder, reader: SqlUsageReader, booked: list[Use]) -> None:
    """With what no team used it is what was used at all: by filter, by group, and by what each team's members see."""
    number = next(NUMBERS)
    await write(recorder, number, booked)
    accounts = (name(number, 0, None), name(number, 1, None))
    whole = await figures(reader, UsageScope(), accounts)
    assert _sum(whole) == tuple(sum(use.tokens for use in booked if use.kind == kind) for kind in ("usage", "denial"))
    by_filter = [await figures(reader, UsageScope(team_ids=frozenset({team})), accounts) for team in TEAMS]
    assert _sum(*by_filter) == _sum(whole)
    assert _sum(await figures(reader, UsageScope(), accounts, ("team",))) == _sum(whole)
    members = [Caller(False, frozenset(), frozenset({(0, team), (1, team)})) for team in ("red", "blue")]
    seen = [await figures(reader, UsageScope(member.sight(number)), accounts) for member in members]
    assert _sum(*seen, by_filter[0]) == _sum(whole)


def _sum(*all_figures: Figures) -> tuple[int, ...]:
    cells = [cell for one in all_figures for cell in one.values()]
    return sum(tokens for tokens, _ in cells), sum(denied for _, denied in cells)
