"""Reading of requests: each wrong field is named once, however many there are."""

import pytest

from control_service.api.fields import Fields
from control_service.domain.errors import InvalidRequestError

FIELD_COUNT = 1_000


class CountedPath(str):
    """A path that counts how often it was compared with another one."""

    __slots__ = ()
    comparison_count = 0

    def __eq__(self, other: object) -> bool:
        CountedPath.comparison_count += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def test_a_wrong_field_is_named_once_and_in_order() -> None:
    """Two checks may find the same; who asked reads it once."""
    with pytest.raises(InvalidRequestError) as caught, Fields() as fields:
        for path, what in (("b", "must be said"), ("a", "must be said"), ("b", "must be said"), ("b", "is too long")):
            fields.refuse(path, what)
    assert caught.value.violations == (("b", "must be said"), ("a", "must be said"), ("b", "is too long"))


def test_many_wrong_fields_are_not_compared_with_each_other() -> None:
    """A message has room for 10,000 statements, and nothing else is served while it is read."""
    CountedPath.comparison_count = 0
    with pytest.raises(InvalidRequestError) as caught, Fields() as fields:
        for index in range(FIELD_COUNT):
            fields.refuse(CountedPath(f"statements[{index}].pot_kind"), "must be said")
    assert len(caught.value.violations) == FIELD_COUNT
    assert CountedPath.comparison_count < FIELD_COUNT


@pytest.mark.parametrize("code", ["", "USD", "EUR", "XAU", "XXX"])
def test_a_currency_is_one_that_there_is(code: str) -> None:
    """What is left out is the default."""
    with Fields() as fields:
        assert fields.currency("currency_code", code, "USD") == (code or "USD")


@pytest.mark.parametrize(
    ("code", "nearest"), [("XXQ", "XXX"), ("usd", "USD"), ("DOLLAR", "DOP"), ("EURO", "EUR"), ("ZQJ", "")]
)
def test_a_currency_that_there_is_not_is_refused_with_the_nearest(code: str, nearest: str) -> None:
    """Three capital letters are not enough: money in a currency that nobody knows can never be paid."""
    with pytest.raises(InvalidRequestError) as caught, Fields() as fields:
        fields.currency("currency_code", code, "USD")
    ((path, what),) = caught.value.violations
    assert path == "currency_code"
    assert nearest in what


def test_bounds_of_money_are_said_in_units() -> None:
    """People type units, and read what they may type."""
    with (
        pytest.raises(InvalidRequestError, match=r"which is 0\.00 to 1000000000\.00 of the currency"),
        Fields() as fields,
    ):
        fields.nanos("amount_nanos", -1, 0, 10**18)
