"""Resource names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.names import (
    MalformedNameError,
    default_service_id,
    model_of_default,
    parse_account,
    parse_custom_service,
    parse_model,
    parse_reservation,
    parse_service,
    reservation_name,
    service_name,
)

account_ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
model_ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)


@given(account_ids, model_ids, st.integers(min_value=1, max_value=10**17))
def test_names_lead_back_to_their_ids(account_id: str, model_id: str, number: int) -> None:
    """What is put into a name comes out of it, for default services of any model too."""
    service_id = default_service_id(model_id)
    assert parse_service(service_name(account_id, service_id)) == (account_id, service_id)
    assert model_of_default(service_id) == model_id
    assert parse_reservation(reservation_name(account_id, service_id, number)) == (account_id, service_id, number)


@pytest.mark.parametrize(
    "name",
    ["", "acme", "accounts/", "accounts/Acme", "accounts/-a", "accounts/a/b", "accounts/a\n", "accounts/" + "a" * 64],
)
def test_other_texts_are_no_account(name: str) -> None:
    """A malformed name is refused with what it should look like."""
    with pytest.raises(MalformedNameError, match="must be accounts/"):
        parse_account(name)


@pytest.mark.parametrize("name", ["models/Llama", "models/a b", "models/.a", "llama", "models/"])
def test_other_texts_are_no_model(name: str) -> None:
    """Aliases are free, ids are not."""
    with pytest.raises(MalformedNameError, match="must be models/"):
        parse_model(name)


def test_an_id_that_people_choose_has_63_characters_at_most() -> None:
    """A default service's has its prefix on top of the model's."""
    longest = "a" * 63
    assert parse_custom_service(f"accounts/{longest}/services/{longest}") == (longest, longest)
    assert parse_service(f"accounts/a/services/default-{longest}") == ("a", f"default-{longest}")
    for service_id in (f"{longest}a", f"default-{longest}a"):
        with pytest.raises(MalformedNameError):
            parse_service(f"accounts/a/services/{service_id}")


def test_the_prefix_of_default_services_is_reserved() -> None:
    """Nobody creates a custom service whose name looks like a default one; ids with dots are default ones' alone."""
    for name in ("accounts/a/services/default-llama", "accounts/a/services/default-", "accounts/a/services/x.y"):
        with pytest.raises(MalformedNameError):
            parse_custom_service(name)
    assert parse_custom_service("accounts/a/services/defaults") == ("a", "defaults")
