"""The opaque token of a grant."""

import json

import pytest

from metering_service.domain.lineage import Origin
from metering_service.domain.price import Price
from metering_service.domain.records import HeldUnits, SettlementState
from metering_service.domain.resume import NUMBER_MAX, PRICE_MAX, TOKEN_BYTES_MAX, ResumeToken, decode

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
)


def test_a_token_comes_back_as_it_was_given() -> None:
    """Every value survives, the largest too, in few enough bytes."""
    assert decode(TOKEN.encode("r1"), "r1") == TOKEN
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
    )
    assert len(largest.encode("r1")) <= TOKEN_BYTES_MAX
    assert decode(largest.encode("r1"), "r1") == largest


def test_whoever_goes_on_begins_beyond_the_grant() -> None:
    """On the terms of the part before."""
    assert TOKEN.origin == Origin("node-a.3.17", 110, 220, Price(7, 1, 2, 3, 4, 5), debt_allowed=True)
    assert TOKEN.output_ceiling_tokens == 220


def test_a_token_stands_in_for_the_record_that_its_node_could_not_write() -> None:
    """Open, nothing reported, all that was held."""
    record = TOKEN.record("accounts/acme/services/chat", "uid", "r1")
    assert (record.node, record.epoch, record.part, record.state) == ("node-a", 3, "node-a.3.17", SettlementState.OPEN)
    assert (record.held, record.predecessor_part, record.base_output_tokens) == (TOKEN.held, "node-b.1.2", 20)
    assert record.price_nanos_per_million == (1, 2, 3, 4, 5)
    assert record.receipt.price_version == 7


def changed(index: int, value: object) -> bytes:
    values = json.loads(TOKEN.encode("r1"))
    values[index] = value
    return json.dumps(values).encode()


GARBAGE = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00garbage",
    "no JSON": b"{]",
    "no list": b'{"part": 1}',
    "a number": b"7",
    "null": b"null",
    "too short": json.dumps(json.loads(TOKEN.encode("r1"))[:-1]).encode(),
    "too long": json.dumps([*json.loads(TOKEN.encode("r1")), 1]).encode(),
    "deep": b"[" * 1_000,
    "huge": b"[" + b" " * TOKEN_BYTES_MAX + b"]",
    "a number of many digits": b"[" + b"9" * 900 + b"]",
    "no part": changed(0, ""),
    "a part that is no name": changed(0, "a\0b"),
    "a part in letters of its own": changed(0, "nödé"),
    "a part that is a list": changed(0, []),
    "a node that is a number": changed(1, 5),
    "a negative number": changed(5, -1),
    "a fraction": changed(5, 1.5),
    "a truth": changed(5, True),
    "text for a number": changed(9, "5"),
    "a number beyond all": changed(9, NUMBER_MAX + 1),
    "a price beyond all": changed(-1, PRICE_MAX + 1),
    "infinity": changed(9, float("inf")),
}


@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in GARBAGE.items()])
def test_garbage_is_no_token(token: bytes) -> None:
    """Whatever a client sends."""
    assert decode(token, "r1") is None


def test_a_token_of_another_request_is_none() -> None:
    """What was granted to one request is not mistaken for another's."""
    assert decode(TOKEN.encode("r1"), "r2") is None
