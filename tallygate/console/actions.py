"""What may be pressed about a service: the service's own list, as buttons that lead to pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tallygate.console import show
from tallygate.control.v1.inference_service_pb2 import InferenceService, Remedy, ServiceAction


@dataclass(frozen=True, slots=True)
class Action:
    """How an action of the contract is called here. `path` has `{service}`, `{account}` and `{model}`."""

    label: str
    path: str
    kind: str = ""


_TABLE: Final[Mapping[str, Action]] = {
    "CLAIM_FREE_TRIAL": Action("Free Trial", "{service}/claim-free-trial", "main"),
    "ENABLE_POSTPAID": Action("Enable pay-as-you-go", "{service}/enable-postpaid"),
    "DISABLE_POSTPAID": Action("Disable pay-as-you-go", "{service}/disable-postpaid"),
    "PURCHASE_RESERVATION": Action("Buy a reservation", "{service}/reserve"),
    "SUSPEND": Action("Suspend", "{service}/suspend"),
    "RESUME": Action("Resume", "{service}/resume"),
    "UPDATE": Action("Edit", "{service}/edit"),
    "DELETE": Action("Delete", "{service}/delete", "danger"),
    "TOP_UP_ACCOUNT": Action("Top up the account", "{account}/money/top-up"),
    "PUBLISH_PRICE": Action("Publish a price", "operations/{model}/publish-price"),
}
_HERE: Final = frozenset({"CANCEL_RESERVATION"})
"""Actions that have their buttons elsewhere: beside what they are about."""


@dataclass(frozen=True, slots=True)
class Button:
    """A button, and where it leads; without an address, what somebody else would have to do."""

    name: str
    label: str
    address: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Cure:
    """A stop reason, empty for a service that nobody has started, and the buttons that clear it."""

    reason: str
    buttons: tuple[Button, ...]


def buttons(service: InferenceService) -> list[Button]:
    """What the caller may do about a service, in the order in which the service says it."""
    return [_button(service, name) for name in _names(service.actions) if name not in _HERE]


def cures(service: InferenceService) -> Iterator[Cure]:
    """What would make a service run: buttons for what the caller may do, and words for what others would have to."""
    mine = set(service.actions)
    for remedy in service.remedies:
        found = [_button(service, name) for name in _names(remedy.actions)]
        kept = [
            button if action in mine else Button(button.name, button.label, "")
            for button, action in zip(found, remedy.actions, strict=True)
        ]
        yield Cure(_reason(remedy), tuple(kept))


def _button(service: InferenceService, name: str) -> Button:
    action = _TABLE.get(name, Action(show.words(name), ""))
    account = "/".join(service.name.split("/")[:2])
    path = action.path.format(service=service.name, account=account, model=service.model)
    return Button(name, action.label, f"/{path}" if path else "", action.kind)


def _names(actions: Iterable[ServiceAction.ValueType]) -> Iterator[str]:
    for action in actions:
        known = ServiceAction.DESCRIPTOR.values_by_number.get(action)
        yield known.name.removeprefix("SERVICE_ACTION_") if known else str(action)


def _reason(remedy: Remedy) -> str:
    return show.enum_name(remedy, "stop_reason") if remedy.stop_reason else ""
