"""What rate rules charge for a request, and what they give back."""

from dataclasses import dataclass, replace

import pytest

from metering_service.api.codec import encode_decision
from metering_service.domain.decision import Reason, deny
from metering_service.domain.lease import Lease, LeaseAnswer
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.rate_charges import NO_LIMIT_TOKENS, Counted, RateCharges, sorted_leases
from metering_service.domain.rate_gate import definite, lacks, would_deny
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateMetric, RateRule
from metering_service.domain.rate_status import rate_status, tightest
from tallygate.metering.v1 import decision_pb2

SECOND_NS = 1_000_000_000
NOW_NS = 5 * SECOND_NS
TOKENS = RateRule(
    "accounts/acme/rateRules/tokens",
    "accounts/acme",
    RateMetric.TOTAL_TOKENS,
    6_000,
    period_ms=60_000,
    burst_units=6_000,
)
OUTPUT = replace(TOKENS, metric=RateMetric.OUTPUT_TOKENS)
REQUESTS = replace(TOKENS, metric=RateMetric.REQUESTS, limit_units=60, burst_units=10)


class Pots:
    """Pots of rules, each with a lease."""

    def __init__(self, *leases: RateLease) -> None:
        self.leases = sorted_leases(leases)

    def note_moved(self) -> None:
        pass


@dataclass(frozen=True)
class SlotPot:
    """A rule's slots with a lease."""

    rule: RateRule
    mine: Lease


def charges_of(*leases: RateLease) -> RateCharges:
    """What rules with these leases charge for one request."""
    return RateCharges(Pots(*leases))


def lease_of(rule: RateRule, granted: int, *, available: int = 0) -> RateLease:
    """A lease with so much on it, of a pot that has so much left, or less than nothing."""
    lease = RateLease("lease-1", "accounts/acme", LimitPotKey(PotKind.RATE, "rule-1"), rule)
    answer(lease, granted, available)
    return lease


def answer(
    lease: Lease, granted: int, available: int, *, now_ns: int = NOW_NS, accrues_after_ms: int | None = None
) -> None:
    lease.demand.need(1)
    statement = lease.statement(now_ns, idle=False)
    assert statement is not None
    lease.demand.forget_needs()
    told = LeaseAnswer(
        lease.lease_id,
        granted,
        empty=False,
        recalling=False,
        available_units=available,
        leased_elsewhere_units=0,
        accrues_after_ms=accrues_after_ms,
        closed=False,
    )
    lease.answered(statement, told, now_ns, now_ns)


@pytest.mark.parametrize(
    ("metric", "units"),
    [
        (RateMetric.REQUESTS, 1),
        (RateMetric.INPUT_TOKENS, 30),
        (RateMetric.OUTPUT_TOKENS, 12),
        (RateMetric.TOTAL_TOKENS, 42),
        (RateMetric.CONCURRENT_REQUESTS, 1),
    ],
)
def test_each_metric_counts_what_it_says(metric: RateMetric, units: int) -> None:
    """Requests count one, however long they are."""
    assert replace(TOKENS, metric=metric).units(30, 12) == units


def test_what_is_held_is_spent_at_once() -> None:
    """Nothing of it is held on the lease, nor waits for a commit."""
    lease = lease_of(TOKENS, 1_000)
    charges_of(lease).take(HeldUnits(100, 200), NOW_NS)
    assert (lease.free, lease.booked, lease.committed, lease.held) == (700, 300, 300, 0)


def test_what_a_reservation_pays_for_does_not_count() -> None:
    """Neither when it is held, nor at the end."""
    lease = lease_of(TOKENS, 1_000)
    charges = charges_of(lease)
    charges.take(HeldUnits(100, 200, reserved_input_tokens=90, reserved_output_tokens=150), NOW_NS)
    assert lease.free == 1_000 - 60
    charges.end(Counted(10, 0), NOW_NS)
    assert lease.free + lease.returned == 1_000 - 10


def test_what_was_not_used_comes_back() -> None:
    """As far as two seconds' worth waits here; the rest goes back to control at once."""
    lease = lease_of(TOKENS, 1_000)
    charges = charges_of(lease)
    charges.take(HeldUnits(100, 900), NOW_NS)
    charges.end(Counted(100, 300), NOW_NS)
    assert (lease.refunded, lease.free, lease.returned) == (600, 200, 400)


def test_a_request_counts_once_and_is_not_given_back() -> None:
    """However often its grant grows, and whatever it used."""
    lease = lease_of(REQUESTS, 5)
    charges = charges_of(lease)
    charges.take(HeldUnits(100, 200), NOW_NS)
    charges.take(HeldUnits(100, 400), NOW_NS)
    charges.end(Counted(0, 0), NOW_NS)
    assert (lease.free, lease.refunded) == (4, 0)


def test_what_runs_is_charged_below_zero_to_one_burst() -> None:
    """And what was not charged is not refunded either."""
    lease = lease_of(OUTPUT, 100, available=0)
    charges = charges_of(lease)
    charges.take(HeldUnits(0, 100), NOW_NS)
    charges.take(HeldUnits(0, 20_000), NOW_NS)
    assert lease.level_units(NOW_NS) == -OUTPUT.burst_units
    charges.end(Counted(0, 6_000), NOW_NS)
    assert lease.refunded == 100


def test_more_than_was_held_is_charged_at_the_end() -> None:
    """A server may say more in the end than it was granted."""
    lease = lease_of(TOKENS, 1_000)
    charges = charges_of(lease)
    charges.take(HeldUnits(10, 20), NOW_NS)
    charges.end(Counted(10, 50), NOW_NS)
    assert lease.free == 1_000 - 60


def test_a_dry_run_makes_no_debt() -> None:
    """It is charged what there is; and all, while nobody knows what that is."""
    dry = replace(OUTPUT, only_counts=True)
    lease = lease_of(dry, 100)
    charges_of(lease).take(HeldUnits(0, 500), NOW_NS)
    assert lease.level_units(NOW_NS) == 0
    unknown = RateLease("lease-1", "accounts/acme", LimitPotKey(PotKind.RATE, "rule-1"), dry)
    charges_of(unknown).take(HeldUnits(0, 500), NOW_NS)
    assert unknown.booked == 500


def test_the_level_accrues_between_answers() -> None:
    """And a debt that control was told of is counted once."""
    lease = lease_of(OUTPUT, 100)
    lease.hold(400, NOW_NS)
    assert lease.level_units(NOW_NS) == -300
    answer(lease, 100, -300)
    assert lease.level_units(NOW_NS) == -300
    assert lease.level_units(NOW_NS + 2 * SECOND_NS) == -100
    assert lease.retry_after_ms(50, NOW_NS) == 3_500
    assert lease.reset_after_ms(NOW_NS) == 63_000
    answer(lease, 450, -300)
    assert (lease.free, lease.level_units(NOW_NS)) == (50, -250)


def test_the_strictest_rule_says_how_much_a_request_begins_with() -> None:
    """By what is on lease, less the input where that counts; rules of other metrics and dry runs say nothing."""
    total, output = lease_of(TOKENS, 300), lease_of(OUTPUT, 250)
    dry = lease_of(replace(OUTPUT, only_counts=True), 1)
    assert charges_of(total, output, dry, lease_of(REQUESTS, 5)).room_to_begin(20) == 250
    assert charges_of(total, output, dry).room_to_begin(100) == 200
    assert charges_of(dry, lease_of(REQUESTS, 5)).room_to_begin(100) == NO_LIMIT_TOKENS


def test_grants_of_what_runs_shrink_towards_one_bursts_debt() -> None:
    """A request that runs is never without one: the least is the caller's to give."""
    charges = charges_of(lease_of(OUTPUT, 0, available=6_000))
    assert charges.grant_max(NOW_NS) == 1_024
    assert charges_of(lease_of(OUTPUT, 0, available=-5_200)).grant_max(NOW_NS) == 100
    assert charges_of(lease_of(OUTPUT, 0, available=-6_000)).grant_max(NOW_NS) == 0
    assert charges_of(lease_of(REQUESTS, 1)).grant_max(NOW_NS) is None


def test_the_tightest_rule_is_the_one_that_is_nearest_to_its_limit() -> None:
    """By what remains of the limit, not by what remains."""
    wide, narrow = lease_of(TOKENS, 0, available=600), lease_of(REQUESTS, 0, available=9)
    statuses = [rate_status(narrow, NOW_NS), rate_status(wide, NOW_NS)]
    assert tightest(statuses) == rate_status(wide, NOW_NS)
    assert tightest([]) is None


def test_a_decision_says_how_things_stand_with_a_rule() -> None:
    """With what it is, what it hangs on, and when it is full again; never less than nothing."""
    status = rate_status(lease_of(REQUESTS, 0, available=-2), NOW_NS)
    said = encode_decision(deny("r1", Reason.REQUEST_RATE, retry_after_ms=3_000, rate=status))
    assert said.reason == decision_pb2.DECISION_REASON_REQUEST_RATE
    assert (said.retryable, said.retry_after.seconds) == (True, 3)
    assert (said.rate.rate_rule, said.rate.place, said.rate.metric) == (REQUESTS.name, "accounts/acme", "REQUESTS")
    assert (said.rate.limit_units, said.rate.remaining_units) == (60, 0)
    assert (said.rate.period.seconds, said.rate.reset_after.seconds) == (60, 12)


def slots_of(rule: RateRule, granted: int) -> SlotPot:
    """So many slots on lease."""
    lease = Lease("lease-2", "accounts/acme", "", PotKind.SLOTS, LimitPotKey(PotKind.SLOTS, "rule-2"))
    lease.granted = granted
    return SlotPot(rule, lease)


SLOTS = RateRule("accounts/acme/rateRules/slots", "accounts/acme", RateMetric.CONCURRENT_REQUESTS, 5)


def test_a_slot_is_held_from_the_first_hold_to_the_end() -> None:
    """Once, however often the grant grows; also beyond the limit."""
    slots = slots_of(SLOTS, 0)
    charges = RateCharges(Pots(), [slots])
    for output in (10, 20):
        charges.take(HeldUnits(0, output), NOW_NS)
    assert (slots.mine.held, slots.mine.free) == (1, -1)
    for _ in range(2):
        charges.end(Counted(), NOW_NS)
    assert (slots.mine.held, slots.mine.booked) == (0, 0)


def test_every_rule_must_have_enough() -> None:
    """All that lack are named together, dry runs never; what is on lease is what counts, not what is free elsewhere."""
    enough, short = lease_of(TOKENS, 100), lease_of(OUTPUT, 9, available=500)
    dry = lease_of(replace(OUTPUT, only_counts=True), 0)
    charges = RateCharges(Pots(enough, short, dry), [slots_of(SLOTS, 0), slots_of(SLOTS, 1)])
    found = lacks(charges, Counted(50, 10))
    assert [(lack.rule, lack.units) for lack in found] == [(OUTPUT, 10), (SLOTS, 1)]
    assert definite(found, NOW_NS) is None
    assert lacks(charges, Counted(50, 9))[0].rule is SLOTS


def confirm_empty(lease: Lease) -> None:
    """Control has said that there is no more."""
    lease.demand.answered(lets_go=False, is_empty=True, got_more=False, recalling=False, asked_ns=NOW_NS, now_ns=NOW_NS)


def test_of_several_denials_the_one_that_lasts_longest_is_named() -> None:
    """With the time until enough has accrued for this request."""
    soon, late = lease_of(REQUESTS, 0), lease_of(OUTPUT, 0, available=-500)
    for lease in (soon, late):
        confirm_empty(lease)
    found = lacks(charges_of(soon, late), Counted(0, 100))
    lack = definite(found, NOW_NS)
    assert lack is not None
    denial = lack.denial("r1", NOW_NS, 7)
    assert (denial.reason, denial.retry_after_ms, denial.config_version) == (Reason.TOKEN_RATE, 6_000, 7)
    only = definite(lacks(charges_of(soon), Counted(0, 100)), NOW_NS)
    assert only is not None
    assert (only.denial("r1", NOW_NS, 7).reason, only.denial("r1", NOW_NS, 7).retry_after_ms) == (
        Reason.REQUEST_RATE,
        1_000,
    )


def test_what_never_fits_is_denied_for_good() -> None:
    """Larger than the burst: without asking control, and not to be tried again."""
    lack = definite(lacks(charges_of(lease_of(TOKENS, 0)), Counted(6_000, 1)), NOW_NS)
    assert lack is not None
    denial = lack.denial("r1", NOW_NS, 7)
    assert (denial.reason, denial.retryable, denial.retry_after_ms) == (Reason.TOKEN_RATE, False, None)


def test_slots_of_a_lost_node_are_contended() -> None:
    """Whether its requests still run, only time tells, which passes; all others are simply in use."""
    slots, rate = slots_of(SLOTS, 0), lease_of(REQUESTS, 0)
    for lease in (slots.mine, rate):
        confirm_empty(lease)
    found = lacks(RateCharges(Pots(rate), [slots]), Counted())
    assert {lack.denial("r1", NOW_NS, 7).reason for lack in found} == {Reason.CONCURRENCY, Reason.REQUEST_RATE}
    for said_ms, later_ms, wait_ms in ((42_000, 0, 42_000), (42_000, 900, 41_100), (1_200, 900, 1_000)):
        answer(slots.mine, 0, 0, accrues_after_ms=said_ms)
        now_ns = NOW_NS + later_ms * 1_000_000
        denial = found[-1].denial("r1", now_ns, 7)
        assert (denial.reason, denial.retry_after_ms) == (Reason.BUDGET_CONTENDED, wait_ms)
        assert definite(found, now_ns) is found[-1 if wait_ms > 1_000 else 0]
    answer(slots.mine, 0, 0)
    assert {lack.denial("r1", NOW_NS, 7).reason for lack in found} == {Reason.CONCURRENCY, Reason.REQUEST_RATE}


def test_a_dry_run_says_what_it_would_deny() -> None:
    """Or that it cannot tell, as control has not answered."""
    dry = replace(OUTPUT, only_counts=True)
    unknown = RateLease("lease-1", "accounts/acme", LimitPotKey(PotKind.RATE, "rule-1"), dry)
    has, lacks_some, real = lease_of(dry, 0, available=20), lease_of(dry, 9), lease_of(OUTPUT, 0)
    charges = charges_of(unknown, has, lacks_some, real)
    assert list(would_deny(charges, Counted(0, 10), NOW_NS)) == [(dry, False), (dry, True)]
    slots = slots_of(replace(SLOTS, only_counts=True), 0)
    charges = RateCharges(Pots(), [slots])
    assert list(would_deny(charges, Counted(), NOW_NS)) == []
    slots.mine.held = 5
    assert list(would_deny(charges, Counted(), NOW_NS)) == [(slots.rule, True)]
