"""The service that a key leads to, against its order in other words; and that a scope is never left."""

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from metering_service.domain.api_key import ApiKey, KeyProblem, KeyState
from metering_service.domain.key_resolution import ModelNeededError, chosen_service, key_problem, scope_problem
from metering_service.domain.network import is_within, parse_network
from metering_service.domain.service import ServiceConfig, Status

ACCOUNTS = ("accounts/a", "accounts/b")
MODELS = ("models/x", "models/y", "models/z")
TEAMS = ("", "red", "blue")
SERVICES = tuple(f"{account}/services/{name}" for account in ACCOUNTS for name in ("default-x", "default-y", "chat"))

names = st.none() | st.frozensets(st.sampled_from(SERVICES), max_size=3)
models = st.none() | st.frozensets(st.sampled_from(MODELS), max_size=3)
keys = st.builds(
    ApiKey,
    sha256=st.just(b"k" * 32),
    state=st.sampled_from(KeyState),
    name=st.sampled_from(ACCOUNTS).map(lambda account: f"{account}/keys/k"),
    uid=st.just("uid-k"),
    team=st.sampled_from(TEAMS),
    services=names,
    models=models,
    routes=st.dictionaries(st.sampled_from(MODELS), st.sampled_from(SERVICES), max_size=3),
    networks=st.sampled_from([(), (parse_network("192.0.2.0/24"),)]),
)
configs = st.builds(
    ServiceConfig,
    name=st.sampled_from(SERVICES),
    status=st.sampled_from(Status),
    team=st.sampled_from(TEAMS),
    model=st.sampled_from(MODELS),
    shared=st.booleans(),
)


@given(keys, st.sampled_from((*MODELS, "")))
def test_a_model_goes_by_its_route_then_by_the_default_and_else_nowhere(key: ApiKey, model: str) -> None:
    """A route decides by itself; the default is for keys that are for all services."""
    found = chosen_service(key, model)
    may_use = bool(model) and (key.models is None or model in key.models)
    if not may_use:
        assert found is KeyProblem.MODEL
    elif model in key.routes:
        assert found == key.routes[model]
    elif key.services is None:
        assert found == f"{key.name.split('/keys/')[0]}/services/default-{model.split('/')[1]}"
    else:
        assert found is KeyProblem.NO_ROUTE


@given(keys)
def test_without_a_model_only_one_way_is_taken(key: ApiKey) -> None:
    """The only route; without routes the only service, or what the only model leads to."""
    try:
        found = chosen_service(key, None)
    except ModelNeededError:
        found = None
    if len(key.routes) == 1:
        assert [found] == list(key.routes.values())
    elif key.routes:
        assert found is None
    elif key.services is not None and len(key.services) == 1:
        assert frozenset({found}) == key.services
    elif key.models is not None and len(key.models) == 1:
        (model,) = key.models
        assert found == chosen_service(key, model)
    else:
        assert found is None


@given(keys, configs, st.sampled_from(("", "192.0.2.9", "198.51.100.9", "::ffff:192.0.2.9", "nonsense")))
def test_a_key_opens_what_is_in_all_of_its_scope_and_nothing_else(
    key: ApiKey, config: ServiceConfig, address: str
) -> None:
    """Account, services, models, team, networks, its state, and that the service is there: each by itself refuses."""
    is_there = config.status not in (Status.UNKNOWN, Status.DELETED)
    in_scope = (
        config.name.rsplit("/services/", 1)[0] == key.name.rsplit("/keys/", 1)[0]
        and (key.services is None or config.name in key.services)
        and (key.models is None or config.model in key.models)
        and (not key.team or key.team == config.team or config.shared)
    )
    is_near = not key.networks or address in ("192.0.2.9", "::ffff:192.0.2.9")
    assert (scope_problem(key, config) is None) == in_scope
    opens = in_scope and is_there and key.state is KeyState.VALID
    assert (key_problem(key, key.state, config, None) is None) == opens
    assert (key_problem(key, key.state, config, address) is None) == (opens and is_near)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, 32), st.booleans(), st.booleans())
def test_an_ipv4_address_is_in_a_network_however_both_are_written(
    number: int, base: int, prefix: int, maps_address: bool, maps_network: bool
) -> None:
    """As itself, or as the IPv6 address that stands for it."""
    address, network = IPv4Address(number), ip_network((base, prefix), strict=False)
    text = f"::ffff:{address}" if maps_address else str(address)
    written = f"::ffff:{network.network_address}/{96 + prefix}" if maps_network else str(network)
    assert is_within(text, (parse_network(written),)) == (address in network)


@given(st.integers(0, (1 << 128) - 1), st.integers(0, (1 << 128) - 1), st.integers(0, 95))
def test_an_ipv6_address_is_in_a_network_of_its_own_kind(number: int, base: int, prefix: int) -> None:
    """An IPv4 address that an IPv6 one stands for is in no IPv6 network."""
    address, network = IPv6Address(number), ip_network((base, prefix), strict=False)
    expected = address in network and address.ipv4_mapped is None
    assert is_within(str(address), (parse_network(str(network)),)) == expected


@given(st.text(max_size=20))
def test_what_cannot_be_read_is_nowhere_and_contains_nothing(text: str) -> None:
    """Neither an address nor a network."""
    everything = (parse_network("0.0.0.0/0"), parse_network("::/0"))
    try:
        ip_network(text, strict=False)
    except ValueError:
        assert not is_within(text, everything)
        assert not is_within("192.0.2.1", (parse_network(text),))
