"""What descriptors of the rate-limit protocols name, and what they count."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tallygate.client import Usage
from tallygate.integrations.ratelimit.descriptors import DescriptorError, Named, Read, read, read_kind
from tallygate.integrations.ratelimit.rate_limit_pb2 import Entry

SERVICE = {"tallygate_service": "accounts/acme/services/chat", "tallygate_request_id": "r1"}


def entries(*descriptors: dict[str, str]) -> list[list[Entry]]:
    return [[Entry(key=key, value=value) for key, value in each.items()] for each in descriptors]


def reading(*descriptors: tuple[dict[str, str], int | None], tokens: int = 0) -> Read:
    return read(((entries(each)[0], own) for each, own in descriptors), tokens)


def test_entries_of_several_descriptors_name_one_request() -> None:
    """Entries of other purposes are beside them."""
    found = reading(
        ({"path": "/a", "remote_address": "10.0.0.1"}, 5),
        ({"tallygate_key": "sk-1"}, None),
        ({"tallygate_model": "m"}, None),
    )
    assert found == Read(Named("", "sk-1", "m", "", "10.0.0.1"), None)


@pytest.mark.parametrize("shown", ["sk-1", "Bearer sk-1", "bearer  sk-1 ", " BEARER sk-1"])
def test_a_key_may_come_as_it_was_shown(shown: str) -> None:
    """A bearer's header, or the key alone."""
    assert reading(({"tallygate_key": shown}, None)).named.api_key == "sk-1"


def test_a_service_comes_before_a_key() -> None:
    """The gateway has found out who pays."""
    assert reading(({**SERVICE, "tallygate_key": "sk-1"}, None)).named.payer == SERVICE["tallygate_service"]
    assert "sk-1" not in repr(reading(({"tallygate_key": "sk-1"}, None)))


@pytest.mark.parametrize(
    "key",
    [
        "tallygate_request_id",
        "auth.identity.tallygate_request_id",
        'auth.metadata["tallygate_request_id"]',
        "request.id",
    ],
)
def test_expressions_that_end_in_a_key_are_that_key(key: str) -> None:
    """Kuadrant's policies name descriptors by the expressions of their counters."""
    assert reading(({"tallygate_service": "s", key: "r1"}, None)).named.request_id == "r1"


@pytest.mark.parametrize("key", ["remote_address", "source.remote_address"])
def test_the_address_of_a_client_goes_along(key: str) -> None:
    """By itself it names no request, and what is counted beside it is of other purposes."""
    found = reading(({**SERVICE, key: "10.0.0.1"}, None), ({key: "10.0.0.1"}, 7))
    assert (found.named.source_address, found.usage) == ("10.0.0.1", None)


@pytest.mark.parametrize("key", ["my_tallygate_service", "tallygate", "tallygate-service", "x.tallygate_service + 'a'"])
def test_other_keys_are_of_others(key: str) -> None:
    """What is no key of ours names nothing."""
    with pytest.raises(DescriptorError, match="No descriptor has tallygate_service"):
        reading(({key: "s"}, 7))


@pytest.mark.parametrize(
    ("descriptors", "said"),
    [
        ([SERVICE, {"tallygate_request_id": "r2"}], "two values of tallygate_request_id"),
        ([{**SERVICE, "tallygate_models": "m"}], "write tallygate_model"),
        ([{**SERVICE, "tallygate_kind": "total"}], "write one of input, cached_input, cache_write, output, reasoning"),
        ([{"tallygate_key": "Bearer "}], "No descriptor has"),
        ([], "No descriptor has"),
    ],
)
def test_a_mistake_is_named(descriptors: Sequence[dict[str, str]], said: str) -> None:
    """With the key that has to change."""
    with pytest.raises(DescriptorError, match=said):
        reading(*((each, None) for each in descriptors))


def test_of_a_kind_the_greatest_number_counts() -> None:
    """A descriptor's own number comes before that of the call."""
    found = reading(
        ({**SERVICE, "tallygate_kind": "input"}, 10),
        ({**SERVICE, "tallygate_kind": "cached_input"}, None),
        (SERVICE, 3),
        (SERVICE, 8),
        tokens=4,
    )
    assert found.usage == Usage(input_tokens=10, cached_input_tokens=4, output_tokens=8)


def test_a_kind_counts_though_who_pays_is_said_beside_it() -> None:
    """Otherwise what was used would be lost without a word."""
    found = reading((SERVICE, 0), ({"tallygate_kind": "input"}, 7), ({"tallygate_kind": "output"}, 9))
    assert found.usage == Usage(input_tokens=7, output_tokens=9)


@pytest.mark.parametrize("own", [None, 0])
def test_nothing_is_no_count(own: int | None) -> None:
    """Whether a gateway says nothing, or says zero."""
    assert reading((SERVICE, own)).usage is None


@pytest.mark.parametrize(("own", "tokens", "lacks"), [(None, 0, True), (0, 0, False), (None, 3, False), (3, 0, False)])
def test_a_kind_without_a_number_is_noticed(own: int | None, tokens: int, lacks: bool) -> None:
    """Envoy leaves the number out where it ignores what is configured."""
    assert reading(({**SERVICE, "tallygate_kind": "output"}, own), tokens=tokens).lacks_number is lacks


def test_numbers_have_a_bound() -> None:
    """That of a report; a negative number is one beyond it."""
    assert reading((SERVICE, 100_000_000)).usage == Usage(output_tokens=100_000_000)
    for count in (100_000_001, 2**64 - 1):
        with pytest.raises(DescriptorError, match="output tokens cannot be"):
            reading((SERVICE, count))
    reading(({"remote_address": "10.0.0.1"}, 2**64 - 1), (SERVICE, 1))


def test_a_reservation_is_of_one_kind() -> None:
    """Output, unless its descriptors say another."""
    assert read_kind(entries(SERVICE, {"a": "b"})) == "output"
    assert read_kind(entries(SERVICE, {"tallygate_kind": "input"})) == "input"
    with pytest.raises(DescriptorError, match="several values of tallygate_kind"):
        read_kind(entries({"tallygate_kind": "output"}, {"tallygate_kind": "input"}))
