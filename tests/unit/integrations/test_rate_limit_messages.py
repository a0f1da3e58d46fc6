"""The messages of the rate-limit protocols, by the numbers that Envoy and Kuadrant publish."""

from __future__ import annotations

import pytest

from tallygate.integrations.ratelimit import rate_limit_pb2 as wire


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        # domain "d"; a descriptor with the entry k: v and its own hits_addend 300; hits_addend 7
        (
            "0a0164 120d 0a060a016b120176 1a0308ac02 1807",
            wire.RateLimitRequest(domain="d", descriptors=[wire.Descriptor(entries=[wire.Entry(key="k", value="v")])]),
        ),
        # overall_code OVER_LIMIT; a status of it; a header a: b; raw_body "x"
        (
            "0802 12020802 1a060a0161120162 2a0178",
            wire.RateLimitResponse(
                overall_code=wire.OVER_LIMIT,
                statuses=[wire.DescriptorStatus(code=wire.OVER_LIMIT)],
                response_headers_to_add=[wire.HeaderValue(key="a", value="b")],
                raw_body=b"x",
            ),
        ),
        # domain "d"; amount 300; ttl 5 s
        ("0a0164 18ac02 22020805", wire.ReserveRequest(domain="d", amount=300)),
        # code OK; reservation_id "r"
        ("0801 120172", wire.ReserveResponse(code=wire.OK, reservation_id="r")),
        # domain "d"; reservation_id "r"; actual_amount 300
        ("0a0164 1a0172 20ac02", wire.CommitRequest(domain="d", reservation_id="r", actual_amount=300)),
        # reservation_released
        ("0801", wire.CommitResponse(reservation_released=True)),
    ],
)
def test_messages_are_those_of_the_protocols(sent: str, message: object) -> None:
    """Written down byte by byte: on the wire a field is its number."""
    if isinstance(message, wire.RateLimitRequest):
        message.hits_addend = 7
        message.descriptors[0].hits_addend.value = 300
    if isinstance(message, wire.ReserveRequest):
        message.ttl.seconds = 5
    assert type(message).FromString(bytes.fromhex(sent)) == message  # type: ignore[attr-defined]
