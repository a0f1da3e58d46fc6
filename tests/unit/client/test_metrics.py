"""Metrics of the client and the middleware, as a registry tells them."""

import subprocess
import sys
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import REGISTRY

from tallygate.client import MeteringClient, SyncMeteringClient
from tallygate.client.metrics import AnyClient, ClientCollector
from tallygate.integrations import environment, metrics
from tests.harness.metrics_page import documented


@pytest.mark.parametrize("client", [MeteringClient("127.0.0.1:1"), SyncMeteringClient("127.0.0.1:1")])
def test_a_client_is_told_by_any_registry(client: AnyClient) -> None:
    """Also before it is started; authorisations by verdict and reason."""
    inner = client if isinstance(client, MeteringClient) else client._inner
    inner._session.count("DENY", "ACCOUNT_OVERDUE")
    registry = CollectorRegistry()
    registry.register(ClientCollector(client))
    text = generate_latest(registry).decode()
    assert 'tallygate_client_authorisations_total{reason="ACCOUNT_OVERDUE",verdict="DENY"} 1.0\n' in text
    assert "tallygate_client_connected 0.0\n" in text


def test_the_page_lists_what_the_middleware_tells() -> None:
    """Its own metrics and its client's, with their types and labels."""
    client = MeteringClient("127.0.0.1:1")
    client._session.count("ALLOW")
    families = list(metrics.MiddlewareCollector(client, Counter(metered=2)).collect())
    told = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels),
        )
        for family in families
    }
    listed = {name: facts for name, facts in documented().items() if name.startswith(("tallygate_cl", "tallygate_mi"))}
    assert told == listed


def test_a_second_middleware_of_a_process_changes_nothing() -> None:
    """Servers may make more than one; a registry takes each name once."""
    before = set(REGISTRY._collector_to_names)
    try:
        metrics.register(MeteringClient("127.0.0.1:1"), Counter(metered=1))
        metrics.register(MeteringClient("127.0.0.1:1"), Counter(metered=5))
        assert REGISTRY.get_sample_value("tallygate_middleware_requests_total", {"outcome": "metered"}) == 1
    finally:
        for collector in set(REGISTRY._collector_to_names) - before:
            REGISTRY.unregister(collector)


def test_metrics_that_cannot_be_told_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the variable, before the server has loaded its model."""
    monkeypatch.setattr(environment, "find_spec", lambda _: None)
    assert environment.mistakes_in({"TALLYGATE_METRICS": "0", "TALLYGATE_METERING_ADDRESSES": "a:1"}) == []
    with pytest.raises(ValueError, match="TALLYGATE_METRICS is 1, but prometheus_client is not installed"):
        environment.check_what_is_set({"TALLYGATE_METRICS": "1"})


def test_nothing_is_imported_that_nobody_asked_for() -> None:
    """Neither by the client nor by the middleware."""
    script = (
        "import sys, tallygate.integrations.asgi; print([m for m in sys.modules if m.startswith(('prom', 'opentel'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
