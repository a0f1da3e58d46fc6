"""Callers of one tenant ask for everything, also by the words of another one, of which no byte comes back."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from tallygate.access.v1 import access_rule_pb2
from tallygate.control.v1 import audit_entry_pb2, ledger_pb2
from tests.harness.tenants.marks import MARK, from_ghost, ghost_of
from tests.harness.tenants.tenant import Tenant
from tests.harness.tenants.town import METHODS, Answer, Town, answer_of, ask
from tests.harness.wire.contract_files import methods, reference

READS: Final = [method for method in methods() if re.match("Get|List|Query|WhoAmI", method.name)]
GROUPS: Final = ("service", "service_uid", "team", "credential")
ALL_TIME: Final = {"start_time": 60, "end_time": 4_000_000_000}
GOES_ON: Final = {
    *("balance_nanos", "available_nanos", "leased_nanos", "available_units", "leased_units", "held_units"),
    *("spent_units", "fresh_through_time", "last_use_time"),
    *("left_nanos", "spent_nanos", "pace_start_time", "used_up_time"),
    *("state", "attempt_count", "last_attempt_time", "next_attempt_time", "last_problem"),
}
"""Fields that change by themselves: while what was used is booked, and because one asks."""
REPLAYS: Final = 15
OTHERS: Final = ("/grpc.health.v1.Health/Check", "/grpc.channelz.v1.Channelz/GetServers")
"""Methods outside of the contract; an empty message is a request of each."""


@dataclass(frozen=True)
class Call:
    """A request, as bytes."""

    method: MethodDescriptor
    request: bytes


def reads(own: Tenant, other: Tenant, number: int) -> Iterator[Call]:
    """Every read: on nothing, what is one's own, and what is another's; with no filters, and with another's.

    And with another's page token. The number says by which of the many words of both.
    """
    for method in READS:
        seen = set()
        for scope, filters in product((None, own, other), (None, other)):
            for request in _requests(method, scope, filters, number):
                data = request.SerializeToString(deterministic=True)
                if data not in seen:
                    seen.add(data)
                    yield Call(method, data)
        for token in other.words[f"page of {method.name}"][-1:]:
            for scope in (own, other):
                for request in _requests(method, scope, None, number):
                    request.page_size, request.page_token = 1, token
                    yield Call(method, request.SerializeToString(deterministic=True))


def replays(other: Tenant, number: int, count: int) -> Iterator[Call]:
    """What another tenant has said, word for word, with its keys, pages and resume tokens: so many of it."""
    said = other.said
    for turn in range(min(count, len(said))):
        request = said[(number + turn * 7) % len(said)]
        yield Call(METHODS[request.DESCRIPTOR.full_name], request.SerializeToString(deterministic=True))


def _requests(method: MethodDescriptor, scope: Tenant | None, filters: Tenant | None, number: int) -> Iterator[Any]:
    """With scope and filters of these tenants; more than one where there are groups, or outcomes."""
    rule = method.GetOptions().Extensions[access_rule_pb2.access]
    request: Any = message_factory.GetMessageClass(method.input_type)()
    for one in method.input_type.fields:
        tenant = scope if one.name == rule.scope_field else filters
        if one.name in ALL_TIME:
            getattr(request, one.name).FromSeconds(ALL_TIME[one.name])
        elif tenant is not None and one.name not in ("page_token", "group_by"):
            _fill(request, one, tenant, number)
    yield request
    if scope is not filters and scope is not None and filters is not None:
        for one in method.input_type.fields:
            if one.is_repeated and reference(one):
                _fill(request, one, filters, number)
                yield request
    for group in GROUPS if "group_by" in method.input_type.fields_by_name else ():
        request.group_by[:] = [group]
        yield request
    if "outcome" in method.input_type.fields_by_name:
        request.outcome = audit_entry_pb2.AUDIT_OUTCOME_CHANGED
        yield request


def _fill(request: Any, one: FieldDescriptor, tenant: Tenant, number: int) -> None:
    kind = reference(one) or {"teams": "team", "principal": "member", "resource": "tallygate/InferenceService"}.get(
        one.name, one.name
    )
    if kind == "*":
        kind = ("tallygate/Account", "tallygate/Team")[number % 2]
    if not tenant.words[kind]:
        return
    word = tenant.pick(kind, number)
    if one.name == "labels":
        key, _, value = word.partition("=")
        request.labels[key] = value
    elif one.is_repeated:
        getattr(request, one.name).append(word)
    else:
        setattr(request, one.name, word)


@dataclass
class Onlookers:
    """Callers of a tenant by their roles, and what they have been told before."""

    town: Town
    own: Tenant
    tokens: dict[str, str]
    told: dict[tuple[str, str, bytes], Any] = field(default_factory=dict)

    def look(self, who: str, other: Tenant, number: int) -> None:
        """Everything that there is to ask."""
        for call in (*reads(self.own, other, number), *replays(other, number, REPLAYS)):
            self.ask(who, call, other)
        for path, channel in product(OTHERS, (self.town.control, self.town.node)):
            nothing_of(other, b"", ask(channel, path, b"", self.tokens[who]), path)

    def ask(self, who: str, call: Call, other: Tenant) -> None:
        """One call: nothing of the other comes back, and what comes is what would come if there were no other."""
        answer = self.town.ask(call.method, call.request, self.tokens[who])
        nothing_of(other, call.request, answer, f"{call.method.name} by {who}")
        if MARK.search(call.request):
            ghost = self.town.ask(call.method, ghost_of(call.request), self.tokens[who])
            unseen = Answer(ghost.code, from_ghost(ghost.body), from_ghost(ghost.everything))
            same = _lasting(call, answer, "next_page_token") == _lasting(call, unseen, "next_page_token")
            assert same, f"{call.method.name} tells {who} whether it is there: {answer} {ghost}"
        else:
            self._same(who, call, answer)

    def _same(self, who: str, call: Call, answer: Answer) -> None:
        """What is one's own is as it was, whatever others did."""
        key = who, call.method.full_name, call.request
        shown = _lasting(call, answer)
        before = self.told.setdefault(key, shown)
        assert before == shown, f"others change what {call.method.name} tells {who}: {before} {shown}"


def _lasting(call: Call, answer: Answer, *further: str) -> Any:
    """An answer without what goes on by itself: money that is booked, how fresh it is, what one was refused oneself."""
    if not answer.is_ok:
        return answer
    message = answer_of(call.method, answer.body)
    if call.method.name == "ListAuditEntries" and message.audit_entries:
        entries = message.audit_entries
        return [one.name for one in entries] if _is_of_changes(call) else None
    if call.method.name == "ListLedgerEntries":
        return [one for one in message.ledger_entries if one.kind != ledger_pb2.LEDGER_ENTRY_KIND_USAGE]
    if call.method.name == "GetStatement":
        return [one for one in message.statement.lines if one.kind != ledger_pb2.LEDGER_ENTRY_KIND_USAGE]
    _clear(message, GOES_ON.union(further))
    return message


def _is_of_changes(call: Call) -> bool:
    request: Any = message_factory.GetMessageClass(call.method.input_type).FromString(call.request)
    return bool(request.outcome == audit_entry_pb2.AUDIT_OUTCOME_CHANGED)


def _clear(message: Message, names: AbstractSet[str]) -> None:
    for one, value in message.ListFields():
        if one.name in names:
            message.ClearField(one.name)
        elif one.message_type is not None and not one.message_type.GetOptions().map_entry:
            for part in value if one.is_repeated else [value]:
                _clear(part, names)


def told_of(other: Tenant, sent: bytes, answer: Answer) -> list[bytes]:
    """What came back that is the other's; what was sent does not count."""
    known = set(MARK.findall(sent))
    marks = [mark for mark in MARK.findall(answer.everything) if mark not in known]
    return marks + [piece for piece in other.made_up if piece in answer.everything and piece not in sent]


def nothing_of(other: Tenant, sent: bytes, answer: Answer, what: str) -> None:
    """Nothing that is the other's came back."""
    found = told_of(other, sent, answer)
    assert not found, f"{what} was told of another tenant: {found} in {answer}"
    assert answer.code is not grpc.StatusCode.INTERNAL, answer
