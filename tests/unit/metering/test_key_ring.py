"""Resume tokens verify for what they were given for, and for nothing else."""

import pytest

from metering_service.domain.key_ring import SETTLED_NS, TOKEN_BYTES_MAX, KeyRing, ResumeKey
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.resume_token import ResumeToken
from metering_service.domain.stamp import Stamp

CONTENT = ResumeToken(
    "node-a.3.17",
    "node-a",
    "",
    3,
    1_700_000_000_000_000,
    10,
    20,
    True,  # as it stands in the token
    HeldUnits(100, 200),
    Price(7, 1, 2, 3, 4, 5),
    Stamp("uid-key", "red", "blue", 1_699_999_200_000_000),
)
HEAD_BYTES = 20


def key(number: int, secret: bytes = b"") -> ResumeKey:
    return ResumeKey(number, 0, secret or bytes([number]) * 32)


def ring_of(*keys: ResumeKey, now_ns: int = 0) -> KeyRing:
    ring = KeyRing()
    ring.take(keys, now_ns)
    return ring


def signed(ring: KeyRing, uid: str = "uid", request_id: str = "r1") -> bytes:
    return ring.sign(uid, request_id, CONTENT.encode())


TOKEN = signed(ring_of(key(1)))
NO_TOKENS = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00garbage",
    "content alone": CONTENT.encode(),
    "made up": b"\0\0\0\1" + b"\0" * 16 + CONTENT.encode(),
    "no content": TOKEN[:HEAD_BYTES],
    "no MAC": TOKEN[:4],
    "truncated": TOKEN[:-1],
    "extended": TOKEN + b" ",
    "too long": TOKEN + b" " * TOKEN_BYTES_MAX,
    "twice": TOKEN + TOKEN,
    "of another key": signed(ring_of(key(2))),
    "of another key of that number": signed(ring_of(key(1, b"x" * 32))),
    "of another service": signed(ring_of(key(1)), uid="uid-2"),
    "of another request": signed(ring_of(key(1)), request_id="r2"),
    "of a service and a request that read the same": signed(ring_of(key(1)), uid="uidr", request_id="1"),
    "another content": TOKEN[:HEAD_BYTES] + CONTENT.encode().replace(b"200", b"900"),
}


def test_a_token_is_good_for_what_it_was_given_for() -> None:
    """Also where names are not plain ASCII."""
    assert ring_of(key(1)).read("uid", "r1", TOKEN) == CONTENT
    ring = ring_of(key(1))
    assert ring.read("uid", "réq-\N{SNOWMAN}", signed(ring, request_id="réq-\N{SNOWMAN}")) == CONTENT


@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in NO_TOKENS.items()])
def test_everything_else_is_no_token(token: bytes) -> None:
    """Whatever a client sends, and whatever was signed for something else."""
    assert ring_of(key(1)).read("uid", "r1", token) is None


def test_no_bit_can_be_flipped() -> None:
    """Each of them, one at a time."""
    ring = ring_of(key(1))
    for position in range(8 * len(TOKEN)):
        flipped = bytearray(TOKEN)
        flipped[position // 8] ^= 1 << position % 8
        assert ring.read("uid", "r1", bytes(flipped)) is None


def test_no_part_of_a_token_is_one() -> None:
    """However short."""
    ring = ring_of(key(1))
    assert [length for length in range(len(TOKEN)) if ring.read("uid", "r1", TOKEN[:length])] == []


def test_a_key_that_is_not_known_here_may_be_in_the_table() -> None:
    """What cannot be a token is not looked for."""
    ring = ring_of(key(1))
    assert not any(ring.lacks(token) for token in (b"", b"\0\0\0\2", TOKEN, b"\0\0\0\2" + b"?" * TOKEN_BYTES_MAX))
    assert not ring.is_lacking
    token = signed(ring_of(key(2)))
    assert ring.lacks(token)
    assert ring.is_lacking
    ring.take([key(1), key(2)], 0)
    assert not ring.lacks(token)
    assert ring.read("uid", "r1", token) == CONTENT


def signs_with(ring: KeyRing) -> int:
    return int.from_bytes(signed(ring)[:4], "big")


def test_the_first_key_of_a_database_signs_at_once_and_a_new_one_later() -> None:
    """When every node knows it, by the clock of the node that signs."""
    ring = ring_of(key(1), now_ns=5)
    assert signs_with(ring) == 1
    ring.take([key(1), key(2)], 10)
    assert signs_with(ring) == 1
    ring.take([key(1), key(2)], 10 + SETTLED_NS - 1)
    assert signs_with(ring) == 1
    ring.take([key(1), key(2)], 10 + SETTLED_NS)
    assert signs_with(ring) == 2


def test_a_node_that_starts_takes_the_last_key_for_new() -> None:
    """It cannot know how long that has been there; all others have been for a day."""
    ring = ring_of(key(3), key(4), key(5), now_ns=7)
    assert signs_with(ring) == 4
    ring.take([key(3), key(4), key(5)], 7 + SETTLED_NS)
    assert signs_with(ring) == 5


def test_keys_that_are_deleted_verify_no_more() -> None:
    """What they have signed is too old."""
    ring = ring_of(key(1), key(2))
    assert ring.read("uid", "r1", TOKEN) is not None
    ring.take([key(2)], SETTLED_NS)
    assert ring.read("uid", "r1", TOKEN) is None
    assert signs_with(ring) == 2


def test_a_key_of_a_number_that_there_was_is_new() -> None:
    """The database was put back to an older copy, which has made another second key since."""
    ring = ring_of(key(1), key(2))
    ring.take([key(1), key(2)], SETTLED_NS)
    lost = signed(ring)
    assert signs_with(ring) == 2
    ring.take([key(1), key(2, b"y" * 32)], SETTLED_NS + 1)
    assert signs_with(ring) == 1
    assert ring.read("uid", "r1", lost) is None
    ring.take([key(1), key(2, b"y" * 32)], 2 * SETTLED_NS + 1)
    assert signs_with(ring) == 2


def test_a_key_does_not_show_its_secret() -> None:
    """Not where it is logged, nor in a traceback that shows values."""
    assert "secret" not in repr(key(1, b"secret"))
