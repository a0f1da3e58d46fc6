"""What must be true of API keys: whom nodes let in and whom they refuse, what each request is stamped with.

What is true is read straight from control's database. It counts against a node a second after it came to be so, and
after the node came to be in touch with control (`admissions.py`): not paused, nor its replica, a database that answers,
and nothing on its way for long.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from unittest.mock import patch

from control_service.domain.api_key_seal import ApiKeySeal
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.request import Request
from metering_service.usecases.lookups import service_choice
from metering_service.usecases.reports import process as reports
from tests.simulation.credentials import SEAL

if TYPE_CHECKING:
    from metering_service.usecases.node import Node
    from tests.simulation.processes import MeteringProcess
    from tests.simulation.simulation_harness import World

TOLD_MAX_S = 1.0
"""Time after which every node that is in touch goes by what has changed."""
DRIFT = 0.05
"""More than clocks run apart: a node's and a replica's."""
MILLION = 1_000_000
Name: TypeAlias = tuple[str, str | bytes]
"""Of a row: its kind and id."""
ROWS = {
    "secret": "SELECT secret_hash id, account_id, key_id, expire_us FROM api_key_secrets",
    "key": "SELECT account_id || '/' || key_id id, uid, team, service_ids, routes, networks, expire_us, disabled,"
    " delete_us FROM api_keys",
    "service": "SELECT account_id || '/' || service_id id, uid, team, shared, credential_policy FROM services",
}


class Truth(NamedTuple):
    """What a secret opens. `why_not`: empty where it lets a request in. `settled_s`: since when that is true.

    `uid`: of its key; empty where nobody has it. `is_sure`: not, where it depends on clocks that somebody has set.
    """

    why_not: str
    settled_s: float
    uid: str = ""
    team: str = ""
    is_sure: bool = True


class KeyChecks:
    """What control's database says of keys, and since when."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._seal = ApiKeySeal(SEAL)
        self._looked = (-1, -1)
        self._rows: dict[Name, Any] = {}
        self._since_s: dict[Name, float] = {}
        self._keys: dict[str, str] = {}
        """The team of every key that there ever was, by its uid."""

    def read(self) -> None:
        """Look at the database, if something has changed there."""
        world = self._world
        now = (world.control.changes, world.control.restored)
        if now == self._looked:
            return
        self._looked = now
        rows = {(kind, row["id"]): tuple(row) for kind, query in ROWS.items() for row in world.control.rows(query)}
        for name in rows.keys() | self._rows.keys():
            row, before = rows.get(name), self._rows.get(name)
            if row != before:
                self._since_s[name] = world.loop.now_s
            if name[0] == "key" and row is not None and before is not None and not world.people.are_forgotten:
                world.check(row[1] == before[1], f"{name[1]!r} was {before[1]}, and is {row[1]} now")
        self._rows = rows
        self._keys.update((row[1], row[2]) for (kind, _), row in rows.items() if kind == "key")

    def truth(self, sha256: bytes, service: str | None, address: str | None, *, by_team: bool = True) -> Truth:
        """What a secret opens now. `service`: its name; None: where its route leads. `address`: None where not asked.

        `by_team`: whether it counts that the service is another team's.
        """
        self.read()
        names: list[Name] = [("secret", self._seal.hash_of(sha256))]
        secret = self._rows.get(names[0])
        if secret is None:
            return Truth("nobody has it", self._since(names))
        _, account_id, key_id, secret_expire_us = secret
        names.append(("key", f"{account_id}/{key_id}"))
        _, uid, team, service_ids, routes, networks, expire_us, disabled, delete_us = self._rows[names[1]]
        if service is None:
            routed = json.loads(routes).get("llama")
            service = f"accounts/{account_id}/services/{routed}" if routed else ""
        _, its_account_id, _, service_id = service.split("/") if service else ("", "", "", "")
        names.append(("service", f"{its_account_id}/{service_id}"))
        its = self._rows.get(names[2])
        ends = [end for end in (expire_us, secret_expire_us) if end is not None]
        has_expired, is_sure = self._expiry(min(ends, default=None))
        why_not = ""
        if disabled or delete_us is not None or has_expired:
            why_not = "it has ended"
        elif its is None or its_account_id != account_id:
            why_not = "it is another account's"
        elif service_ids is not None and service_id not in json.loads(service_ids):
            why_not = "the service is not in its scope"
        elif by_team and team and its[2] != team and not its[3]:
            why_not = "the service is another team's"
        elif address is not None and json.loads(networks) and not address.startswith("192.0.2."):
            why_not = "the address is in none of its networks"
        # What has ended is not given back by time.
        return Truth(why_not, self._since(names), uid, team, is_sure or bool(why_not and not has_expired))

    def needs_key(self, service: str) -> tuple[bool, float]:
        """Whether a service needs a key, and since when that is so."""
        self.read()
        name = ("service", "/".join(service.split("/")[1::2]))
        return self._rows[name][4] == "REQUIRED", self._since([name])

    def _since(self, names: list[Name]) -> float:
        return max(self._since_s.get(name, 0.0) for name in names)

    def _expiry(self, expire_us: int | None) -> tuple[bool, bool]:
        """Whether a moment has passed, by the clock that is right; and whether all clocks agree on that."""
        if expire_us is None:
            return False, True
        world = self._world
        left_s = (expire_us - world.loop.start_us) / MILLION - world.loop.now_s
        is_sure = abs(left_s) > TOLD_MAX_S + DRIFT * world.loop.now_s
        return left_s <= 0, is_sure and not world.chance.struck["clock jump"]

    # --- what must be true -----------------------------------------------------------------------------------------

    def is_settled(self, process: "MeteringProcess", since_s: float) -> bool:
        """Whether a node must go by what is true since then."""
        touch_s = process.told.in_touch_since_s
        return touch_s is not None and self._world.loop.now_s - max(since_s, touch_s) > TOLD_MAX_S

    def judge(self, node: "Node", waiter: Any, service: str | None, outcome: Any) -> None:
        """A node has decided on a report that shall begin something: whether that is right, as far as its key goes."""
        process, report = self._process_of(node), waiter.report
        shown = self._world.shown(report.request_id) if report.key_sha256 else None
        is_refused = isinstance(outcome, Decision) and outcome.reason is Reason.CREDENTIAL_INVALID
        if process is None or not (is_refused or isinstance(outcome, Request)):
            return
        if not report.key_sha256:
            assert service is not None
            needs_key, since_s = self.needs_key(service)
            is_right = needs_key if is_refused else not needs_key or waiter.start is not None
            self._hold(process, since_s, is_right, f"{report.request_id} without a key", refused=is_refused)
            return
        # By what its end user has shown, whatever the node makes of it.
        truth = self.truth(shown.sha256 if shown is not None else report.key_sha256, service, report.source_address)
        uid, why_not, since_s = truth.uid, truth.why_not, truth.settled_s
        if not uid and service is not None and not waiter.is_chosen:
            needs_key, policy_since_s = self.needs_key(service)
            since_s, why_not = max(since_s, policy_since_s), why_not if needs_key else ""
        if not truth.is_sure:
            return
        what = f"{report.request_id} with a key of which it is true that {why_not or 'it is right'}"
        self._hold(process, since_s, bool(why_not) == is_refused, what, refused=is_refused)
        if isinstance(outcome, Request) and self.is_settled(process, since_s):
            stamp = outcome.stamp
            of_record = (stamp.credential, stamp.key_team) == (uid, truth.team)
            self._note(of_record, f"{process.party} stamps {report.request_id} with {stamp}, not {uid}")

    def _hold(self, process: "MeteringProcess", since_s: float, is_right: bool, what: str, *, refused: bool) -> None:
        late_s = self._world.loop.now_s - max(since_s, process.told.in_touch_since_s or 0.0)
        does = "refuses" if refused else "lets in"
        is_settled = self.is_settled(process, since_s)
        self._world.chance.struck[f"key judged when it is settled: a node {does}"] += is_settled
        is_excused = is_right or not is_settled
        self._note(is_excused, f"{process.party} {does} {what}, {late_s:.1f} s after that came to be so")

    def _note(self, holds: bool, what: str) -> None:
        if not holds:
            self._world.wrongs.append(what)

    def look_at_nodes(self) -> None:
        """What runs by a key that has ended, or that its service is no more in the scope of, was told to stop."""
        world = self._world
        for process in world.nodes.values() if world.keys.are_shown else ():
            if process is None or process.assembly is None or process.told.in_touch_since_s is None:
                continue
            for request, key in process.assembly.node.keys.of_request.items():
                if request.session is None or key.key is None or request.stop_sent:
                    continue
                truth = self.truth(key.name, request.service, None, by_team=False)
                # The next report is answered with the stop.
                is_right = not truth.why_not or not truth.is_sure or not request.takes_fast_road
                what = f"{request.request_id} go on with a key of which it is true that {truth.why_not}"
                self._hold(process, truth.settled_s, is_right, what, refused=False)

    def _process_of(self, node: "Node") -> "MeteringProcess | None":
        processes = [process for process in self._world.nodes.values() if process is not None and process.assembly]
        return next((one for one in processes if one.assembly is not None and one.assembly.node is node), None)

    def check_books(self) -> None:
        """At rest: a request is recorded with the key that it showed, and all of its parts with the same stamp."""
        world = self._world
        if not world.keys.are_shown:
            return
        self.read()
        uids = {}
        for job in [job for server in world.servers for job in server.jobs.values() if job.shown is not None]:
            assert job.shown is not None
            uids[job.service, job.request_id] = self.truth(job.shown.sha256, job.service, None).uid
        stamps = {}
        rows = world.metering.rows(
            "SELECT service, request_id, part, predecessor_part, credential, key_team, team, pots FROM requests"
        )
        for row in rows:
            name = (row["service"], row["request_id"])
            uid, who = row["credential"], f"{row['request_id']} ({row['part']})"
            shown = uids.get(name, "")
            # A key that was made after a copy is none that control knows any more.
            is_right = uid in ("", shown) or not shown or world.people.are_forgotten
            world.check(is_right, f"{who} is on record with the key {uid}, it showed {shown}")
            world.check(row["key_team"] == self._keys.get(uid, ""), f"{who}: its key is not of {row['key_team']}")
            stamps[*name, row["part"]] = (uid, row["key_team"], row["team"], row["pots"])
        for row in rows:
            part = (row["service"], row["request_id"], row["part"])
            before = stamps.get((*part[:2], row["predecessor_part"]), stamps[part])
            world.check(before == stamps[part], f"{part} is stamped {stamps[part]}, what it goes on from {before}")


def holdings(node: "Node") -> tuple[int, int]:
    """All that requests hold on a node, and all that was booked there or spent of rates."""
    holders = (*node.services.values(), *node.lease_index.pots.values())
    leases = [lease for holder in holders for lease in holder.all_leases()]
    return sum(lease.held for lease in leases), sum(lease.booked - lease.refunded for lease in leases)


@contextmanager
def watched(world: "World") -> Iterator[None]:
    """Look at every decision on whether something may begin: who is not let in moves no pot, who waits holds none."""
    admit, choose = reports._admit, service_choice._choose

    def watched_admit(node: Any, service: Any, config: Any, waiter: Any) -> Any:
        before = holdings(node)
        outcome = admit(node, service, config, waiter)
        if not isinstance(outcome, Request) and holdings(node) != before:
            world.wrongs.append(f"{waiter.report.request_id} is not let in, and something is held or booked for it")
        if isinstance(outcome, Request) and waiter.start is None:
            world.limits.rules.begun(node, outcome)
        if isinstance(outcome, Decision) and outcome.rate is not None and outcome.rate.rule.only_counts:
            world.wrongs.append(f"{outcome.request_id} is denied by {outcome.rate.rule.name}, which only counts")
        if world.keys.are_shown:
            world.keys.checks.judge(node, waiter, service.name, outcome)
        return outcome

    def watched_choose(node: Any, waiter: Any) -> Any:
        outcome = choose(node, waiter)
        if world.keys.are_shown:
            world.keys.checks.judge(node, waiter, None, outcome)
        return outcome

    with patch.object(reports, "_admit", watched_admit), patch.object(service_choice, "_choose", watched_choose):
        yield
