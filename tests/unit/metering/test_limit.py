"""Which limits apply to a request, and which pots are charged."""

from dataclasses import replace

import pytest

from metering_service.api.control.limit_codec import decode_account_limits, decode_limit_pots, encode_limit_pot
from metering_service.domain.limit import NEVER_NS, Limit, LimitSet, Member, Period, applying
from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.service import ServiceConfig, Status
from metering_service.domain.stamp import HOUR_US
from metering_service.usecases.limits.known_limits import KnownLimits
from tallygate._wire.times import encode_duration, encode_timestamp
from tallygate.control.v1 import limit_config_pb2 as pb
from tallygate.control.v1 import pot_pb2

SERVICE = ServiceConfig(
    "accounts/acme/services/chat", Status.RUNNING, uid="uid-chat", team="red", model="models/llama", version=1
)
CAP = Limit("uid-cap", "accounts/acme/budgets/cap", PotKind.BUDGET_TOKENS, "accounts/acme", amount_units=5)
RULE = replace(CAP, kind=PotKind.RATE)


def members(
    limit: Limit, *, key: str = "uid-key", key_team: str = "blue", service: ServiceConfig = SERVICE
) -> list[str]:
    """Those whose pots are charged: "" of one that is shared."""
    applies = applying([limit], service, key, key_team, 0)
    return [charge.pot.member_uid for charge in (*applies.budgets, *applies.rules)]


@pytest.mark.parametrize(
    ("place", "place_uid", "applies"),
    [
        ("accounts/acme", "", True),
        ("accounts/acm", "", False),
        ("accounts/acme/teams/red", "red", True),
        ("accounts/acme/teams/blue", "blue", True),
        ("accounts/acme/teams/green", "green", False),
        ("accounts/acme/services/chat", "uid-chat", True),
        ("accounts/acme/services/chat", "uid-older", False),
        ("accounts/acme/keys/k", "uid-key", True),
        ("accounts/acme/keys/k", "uid-other", False),
        ("models/llama", "", True),
        ("models/other", "", False),
    ],
)
def test_all_that_hang_on_what_a_request_touches_apply(place: str, place_uid: str, *, applies: bool) -> None:
    """The model, the account, the team of service and key, the service, the key."""
    assert members(replace(RULE, place=place, place_uid=place_uid)) == ([""] if applies else [])


def test_a_team_counts_once_if_service_and_key_are_of_it() -> None:
    """Both teams count where they are two."""
    each = replace(CAP, member=Member.EACH_TEAM)
    assert members(each) == ["red", "blue"]
    assert members(each, key_team="red") == ["red"]
    assert members(each, key_team="", service=replace(SERVICE, team="")) == []


def test_each_counts_members_of_the_place() -> None:
    """Each key of a team is each of the team's own keys; without a key there is nothing to count."""
    assert members(replace(CAP, member=Member.EACH_KEY)) == ["uid-key"]
    assert members(replace(CAP, member=Member.EACH_KEY), key="") == []
    assert members(replace(CAP, member=Member.EACH_SERVICE)) == ["uid-chat"]
    of_blue = replace(CAP, place="accounts/acme/teams/blue", place_uid="blue")
    assert members(replace(of_blue, member=Member.EACH_KEY)) == ["uid-key"]
    assert members(replace(of_blue, member=Member.EACH_SERVICE)) == []
    of_red = replace(CAP, place="accounts/acme/teams/red", place_uid="red")
    assert members(replace(of_red, member=Member.EACH_KEY)) == []
    assert members(replace(of_red, member=Member.EACH_SERVICE)) == ["uid-chat"]


def test_a_model_narrows_and_an_exempt_service_is_spared() -> None:
    """An operator exempts from a model's rules only."""
    assert members(replace(CAP, model="models/llama")) == [""]
    assert members(replace(CAP, model="models/other")) == []
    exempt = replace(SERVICE, exempt_from_model_rules=True)
    assert members(replace(RULE, place="models/llama"), service=exempt) == []
    assert members(RULE, service=exempt) == [""]


def test_a_key_limit_needs_a_key() -> None:
    """Its place's uid is never that of no key."""
    assert members(replace(CAP, place="accounts/acme/keys/k", place_uid=""), key="") == []


def test_periods_turn_by_this_nodes_clock() -> None:
    """What was worked out holds until the next begins; then the last one goes on, should control say no more."""
    periods = (Period(HOUR_US, 2 * HOUR_US, 0, 100), Period(2 * HOUR_US, 3 * HOUR_US, 100, 200))
    known = KnownLimits()
    known.take(LimitSet("accounts/acme", (replace(CAP, periods=periods),), 1))
    for now_ns, start_us in ((0, HOUR_US), (99, HOUR_US), (100, 2 * HOUR_US), (500, 2 * HOUR_US)):
        (charge,) = known.applying(SERVICE, "", "", now_ns).budgets
        assert charge.pot.period_start_us == start_us


def test_the_hour_of_a_request_lies_in_its_periods() -> None:
    """Though this node's wall clock is ahead of control's, or behind."""
    applies = applying([replace(CAP, periods=(Period(5 * HOUR_US, 7 * HOUR_US),))], SERVICE, "", "", 0)
    assert [applies.hour_at(hours * HOUR_US) for hours in (4, 5, 6, 7)] == [n * HOUR_US for n in (5, 5, 6, 6)]


def test_later_versions_hold_and_earlier_ones_do_not() -> None:
    """The same one again says that a period came near."""
    known = KnownLimits()
    assert not known
    assert known.take(LimitSet("accounts/acme", (CAP,), 3))
    assert known.take(LimitSet("accounts/acme", (replace(CAP, amount_units=6),), 3))
    assert not known.take(LimitSet("accounts/acme", (), 2))
    assert known.applying(SERVICE, "", "", 0).budgets[0].limit.amount_units == 6
    moved = replace(SERVICE, name="accounts/other/services/chat")
    assert known.applying(moved, "", "", 0).budgets == ()


def test_a_limit_comes_as_it_is_on_the_wire() -> None:
    """Times to live count from now; what this program does not understand it leaves out."""
    period = pb.BudgetPeriod(
        start_time=encode_timestamp(HOUR_US),
        starts_after=encode_duration(5),
        ends_after=encode_duration(7),
        end_time=encode_timestamp(2 * HOUR_US),
    )
    budget = pb.LimitConfig(
        uid="uid-cap",
        limit="accounts/acme/budgets/cap",
        pot_kind=pot_pb2.POT_KIND_BUDGET_MONEY,
        place="accounts/acme/teams/red",
        place_uid="red",
        model="models/llama",
        member=pb.LIMIT_MEMBER_EACH_KEY,
        only_counts=True,
        periods=[pb.BudgetPeriod(), period],
        amount_units=9,
    )
    strange = pb.LimitConfig(uid="uid-new", member=pb.LIMIT_MEMBER_SHARED)
    found = decode_account_limits(pb.AccountLimits(account="accounts/acme", limits=[budget, strange], version=4), 1_000)
    assert found == LimitSet(
        "accounts/acme",
        (
            Limit(
                "uid-cap",
                "accounts/acme/budgets/cap",
                PotKind.BUDGET_MONEY,
                "accounts/acme/teams/red",
                "red",
                "models/llama",
                Member.EACH_KEY,
                only_counts=True,
                amount_units=9,
                periods=(Period(0, None, 0, NEVER_NS), Period(HOUR_US, 2 * HOUR_US, 6_000, 8_000)),
            ),
        ),
        4,
    )


def test_a_pot_leads_back() -> None:
    """But for its kind, which goes beside it."""
    pot = LimitPotKey(PotKind.BUDGET_MONEY, "uid-cap", "uid-key", HOUR_US)
    assert ("accounts/acme", pot) in set(decode_limit_pots(encode_limit_pot("accounts/acme", pot)))
    ever = LimitPotKey(PotKind.BUDGET_TOKENS, "uid-cap")
    assert not encode_limit_pot("accounts/acme", ever).HasField("period_start_time")
    assert ("accounts/acme", ever) in set(decode_limit_pots(encode_limit_pot("accounts/acme", ever)))
