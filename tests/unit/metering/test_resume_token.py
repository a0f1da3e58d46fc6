"""The content of a grant's token."""

from metering_service.domain.key_ring import TOKEN_BYTES_MAX, KeyRing, ResumeKey
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.price import Price
from metering_service.domain.records import RequestState
from metering_service.domain.request_parts import PartStart
from metering_service.domain.resume_token import ResumeToken, decode
from metering_service.domain.stamp import Stamp

NUMBER_MAX = 10**17
PRICE_MAX = 10**15
"""The highest that the catalogue takes."""
UID = "0123abcd-0123-4567-89ab-0123456789ab"
LARGEST_POT = LimitPotKey(PotKind.BUDGET_TOKENS, UID, UID, NUMBER_MAX)
POTS_MAX = 24
"""Number of pots whose list still fits, at the least."""
STAMP = Stamp(
    "uid-key",
    "red",
    'blue "\u00e9"',
    1_699_999_200_000_000,
    (LimitPotKey(PotKind.BUDGET_TOKENS, "uid-1"), LimitPotKey(PotKind.BUDGET_MONEY, "uid-2", "uid-key", 3_600_000_000)),
)
TOKEN = ResumeToken(
    part="node-a.3.17",
    node="node-a",
    predecessor_part="node-b.1.2",
    epoch=3,
    start_us=1_700_000_000_000_000,
    base_input_tokens=10,
    base_output_tokens=20,
    debt_allowed=True,
    held=HeldUnits(100, 200, 1, 2, 3, 294, 5_000),
    price=Price(7, 1, 2, 3, 4, 5),
    stamp=STAMP,
)


def test_a_token_comes_back_as_it_was_given() -> None:
    """Every value survives, the largest too, in few enough bytes once it is signed."""
    assert decode(TOKEN.encode()) == TOKEN
    name = "n" * 63
    largest = ResumeToken(
        f"{name}.{10**9}.{10**12}",
        name,
        f"{name}.{10**9}.{10**12}",
        10**9,
        NUMBER_MAX,
        10**10,
        10**10,
        False,  # as it stands in the token
        HeldUnits(*[NUMBER_MAX] * 7),
        Price(10**9, *[PRICE_MAX] * 5),
        Stamp(UID, "t" * 63, "t" * 63, NUMBER_MAX, (LARGEST_POT,) * POTS_MAX),
    )
    ring = KeyRing()
    ring.take([ResumeKey(1, 0, b"secret")], 0)
    signed = ring.sign("uid", "r1", largest.encode())
    assert len(signed) <= TOKEN_BYTES_MAX
    assert ring.read("uid", "r1", signed) == largest


def test_whoever_goes_on_begins_beyond_the_grant() -> None:
    """On the terms of the part before."""
    assert TOKEN.start == PartStart("node-a.3.17", 110, 220, Price(7, 1, 2, 3, 4, 5), debt_allowed=True, stamp=STAMP)
    assert TOKEN.output_ceiling_tokens == 220


def test_a_token_stands_in_for_the_record_that_its_node_could_not_write() -> None:
    """Open, nothing reported, all that was held."""
    record = TOKEN.record("accounts/acme/services/chat", "uid", "r1")
    assert (record.node, record.epoch, record.part, record.state) == ("node-a", 3, "node-a.3.17", RequestState.OPEN)
    assert (record.held, record.predecessor_part, record.base_output_tokens) == (TOKEN.held, "node-b.1.2", 20)
    assert (record.price_nanos_per_million, record.stamp) == ((1, 2, 3, 4, 5), STAMP)
    assert record.receipt.price_version == 7
