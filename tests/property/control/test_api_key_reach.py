"""Reach of API keys against the sentence that says it, over every small account that there can be."""

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.api_key import ApiKey, KeyScope
from control_service.domain.api_key_reach import is_in_reach, reaches
from control_service.domain.service import Service, ServiceKind

TEAMS = st.sampled_from(["", "search", "chat"])
SERVICE_IDS, MODEL_IDS = ["a", "b", "default-llama"], ["llama", "mistral"]


def some_of(ids: list[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(ids), unique=True).map(tuple)


KEYS = st.builds(
    ApiKey,
    account_id=st.sampled_from(["acme", "bolt"]),
    key_id=st.just("key"),
    uid=st.just("uid"),
    team=TEAMS,
    scope=st.builds(KeyScope, some_of(SERVICE_IDS), some_of(MODEL_IDS)),
)
SERVICES = st.builds(
    Service,
    account_id=st.sampled_from(["acme", "bolt"]),
    service_id=st.sampled_from(SERVICE_IDS),
    uid=st.just("uid"),
    model_id=st.sampled_from(MODEL_IDS),
    kind=st.sampled_from(ServiceKind),
    team=TEAMS,
    shared=st.booleans(),
    delete_us=st.none() | st.just(1),
)


def allowed(key: ApiKey, service: Service) -> bool:
    """As a person would say it, one sentence after the other."""
    if service.delete_us is not None:
        return False
    if key.account_id != service.account_id:
        return False
    named_services = SERVICE_IDS if key.scope.service_ids is None else key.scope.service_ids
    named_models = MODEL_IDS if key.scope.model_ids is None else key.scope.model_ids
    if service.service_id not in named_services or service.model_id not in named_models:
        return False
    if key.team == "":
        return True
    return service.shared or service.team == key.team


@given(KEYS, SERVICES)
def test_a_key_reaches_what_its_team_and_scope_say(key: ApiKey, service: Service) -> None:
    """Its account's services, of a team's key the team's and shared ones; of these, what the scope names."""
    assert reaches(key, service) == allowed(key, service)


@given(KEYS, SERVICES)
def test_all_means_what_is_in_reach(key: ApiKey, service: Service) -> None:
    """A scope narrows: with all services and models a key reaches what it could name, and never more."""
    everything = ApiKey(key.account_id, key.key_id, key.uid, team=key.team)
    assert reaches(everything, service) == is_in_reach(key, service)
    assert reaches(key, service) <= is_in_reach(key, service)


@given(KEYS, SERVICES)
def test_sharing_never_narrows(key: ApiKey, service: Service) -> None:
    """Whatever a key reaches, it reaches when that is shared; and a key of no team needs no sharing."""
    shared = Service(**{name: getattr(service, name) for name in Service.__slots__} | {"shared": True})
    assert reaches(key, service) <= reaches(key, shared)
    if not key.team:
        assert reaches(key, service) == reaches(key, shared)
