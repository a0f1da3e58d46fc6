"""Remedies: the command that clears a stop reason, to be copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tallygate.control.v1 import inference_service_pb2 as pb

_COMMANDS: Final[Mapping[pb.StopReason.ValueType, str]] = {
    pb.STOP_REASON_POSTPAID_DISABLED: "tallygate service enable-postpaid {service}",
    pb.STOP_REASON_TRIAL_EXHAUSTED: "tallygate service enable-postpaid {service}",
    pb.STOP_REASON_TRIAL_EXPIRED: "tallygate service enable-postpaid {service}",
    pb.STOP_REASON_RESERVATION_ENDED: "tallygate service enable-postpaid {service}",
    pb.STOP_REASON_ACCOUNT_OVERDUE: "tallygate account top-up {account} --amount AMOUNT",
    pb.STOP_REASON_SUSPENDED: "tallygate service resume {service}",
    pb.STOP_REASON_NO_PRICE: "tallygate model publish-price {model} --input AMOUNT --output AMOUNT",
}
_START: Final = (
    "tallygate service claim-trial {service}",
    "tallygate service enable-postpaid {service}",
)
"""Commands that start a service which nobody has started."""


def remedies(service: pb.InferenceService) -> list[str]:
    """Commands by which the service runs again, or for the first time; each once, in the order of its stop reasons."""
    templates = [_COMMANDS[reason] for reason in service.stop_reasons if reason in _COMMANDS]
    if service.status == pb.SERVICE_STATUS_NOT_ENABLED:
        templates += _START
    account, _, own = service.name.removeprefix("accounts/").partition("/services/")
    names = {"service": f"{account}/{own}", "account": account, "model": service.model.removeprefix("models/")}
    return list(dict.fromkeys(template.format(**names) for template in templates))
