"""Reports with API keys, and services that ask for one."""

import hashlib
from typing import Any

from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.report import Phase, Report
from metering_service.domain.service import ServiceConfig
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_trial

MODEL = "models/llama"
DEFAULT = "accounts/acme/services/default-llama"


def sha256(shown: str) -> bytes:
    """What a node keeps of a key."""
    return hashlib.sha256(shown.encode()).digest()


def by_key(phase: Phase, shown: str, request_id: str = "r1", counts: Counts = ZERO, **more: Any) -> Report:
    """A report that leaves its service to a key and, unless it is said otherwise, the model `llama`."""
    said: dict[str, Any] = {"service": "", "model": "llama"}
    return report(phase, request_id, counts, key_sha256=sha256(shown), **(said | more))


def with_key(
    shown: str = "k",
    *,
    service: str = DEFAULT,
    config: dict[str, Any] | None = None,
    settings: NodeSettings | None = None,
    **key: Any,
) -> Fleet:
    """A node, a service of the model that a trial pays for, and a key."""
    fleet = Fleet(settings=settings)
    with_trial(fleet, 1_000_000, name=service, model=MODEL, **(config or {}))
    fleet.control.put_model("llama", MODEL)
    fleet.control.put_key(shown, **key)
    return fleet


def allowed(decision: Decision | None) -> Decision:
    """The decision, which must let the request run."""
    assert decision is not None
    assert decision.allowed, decision
    return decision


def is_invalid(decision: Decision | None) -> bool:
    """Whether it is the one refusal of a key: nothing in it says why."""
    assert decision is not None
    assert decision.reason is Reason.CREDENTIAL_INVALID, decision
    said = decision._replace(request_id="", config_version=0, key_problem=None)
    return said == Decision("", Reason.CREDENTIAL_INVALID, Reason.CREDENTIAL_INVALID.sentence)


def change(fleet: Fleet, config: ServiceConfig) -> None:
    """A service is another now, and nodes hear of it."""
    fleet.control.put(config)
    for rig in fleet.rigs.values():
        rig.pump()


def warm(fleet: Fleet, shown: str, node: str = "a") -> Client:
    """A stream on which a request with this key has ended."""
    client = Client(fleet[node])
    client.say(by_key(Phase.AUTHORIZE, shown, "warm"))
    client.say(report(Phase.FINISH, "warm", service=""))
    return client
