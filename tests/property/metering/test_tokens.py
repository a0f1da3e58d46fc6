"""Whatever is made of a resume token, by chance or on purpose: it is the one that was given, or none."""

from hypothesis import given
from hypothesis import strategies as st

from metering_service.domain.key_ring import KeyRing, ResumeKey
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.price import Price
from metering_service.domain.resume_token import ResumeToken
from metering_service.domain.stamp import Stamp

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(0, 10**15)
parts = st.from_regex(r"[a-z0-9-]{1,20}\.[0-9]{1,4}\.[0-9]{1,6}", fullmatch=True)
pots = st.builds(LimitPotKey, st.sampled_from(PotKind), NAMES, NAMES, numbers)
contents = st.builds(
    ResumeToken,
    part=parts,
    node=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    predecessor_part=st.one_of(st.just(""), parts),
    epoch=st.integers(1, 10**6),
    start_us=numbers,
    base_input_tokens=numbers,
    base_output_tokens=numbers,
    debt_allowed=st.booleans(),
    held=st.builds(HeldUnits, *[numbers] * 7),
    price=st.builds(Price, *[numbers] * 6),
    stamp=st.builds(Stamp, NAMES, NAMES, NAMES, numbers, st.lists(pots, max_size=3).map(tuple)),
)


def ring_of(secret: bytes) -> KeyRing:
    ring = KeyRing()
    ring.take([ResumeKey(1, 0, secret)], 0)
    return ring


RING = ring_of(b"a" * 32)


@given(NAMES, NAMES, contents, st.data())
def test_a_token_is_whole_or_none(uid: str, request_id: str, content: ResumeToken, data: st.DataObject) -> None:
    """Cut, lengthened, with bytes replaced, put together from two: nothing of it verifies."""
    token = RING.sign(uid, request_id, content.encode())
    assert RING.read(uid, request_id, token) == content
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, len(token)))
    spoiled = token[:start] + data.draw(st.binary(max_size=30)) + token[end:]
    assert RING.read(uid, request_id, spoiled) == (content if spoiled == token else None)


@given(NAMES, NAMES, NAMES, NAMES, contents)
def test_a_token_is_good_for_one_request_of_one_service(
    uid: str, request_id: str, other_uid: str, other_id: str, content: ResumeToken
) -> None:
    """However alike their names are, put one after the other."""
    token = RING.sign(uid, request_id, content.encode())
    expected = content if (uid, request_id) == (other_uid, other_id) else None
    assert RING.read(other_uid, other_id, token) == expected
    for moved in range(len(uid + request_id) + 1):
        split = (uid + request_id)[:moved], (uid + request_id)[moved:]
        assert RING.read(*split, token) == (content if split == (uid, request_id) else None)


@given(st.binary(max_size=1_100), contents, st.binary(min_size=1, max_size=32))
def test_nobody_makes_a_token_without_the_key(made_up: bytes, content: ResumeToken, guessed: bytes) -> None:
    """Neither from nothing nor with a key of one's own."""
    assert RING.read("uid", "r1", made_up) is None
    if guessed != b"a" * 32:
        assert RING.read("uid", "r1", ring_of(guessed).sign("uid", "r1", content.encode())) is None
