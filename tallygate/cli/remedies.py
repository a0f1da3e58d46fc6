"""Remedies: the commands that do what the control service says would make a service run, to be copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tallygate.control.v1 import inference_service_pb2 as pb

_COMMANDS: Final[Mapping[pb.ServiceAction.ValueType, str]] = {
    pb.SERVICE_ACTION_CLAIM_FREE_TRIAL: "tallygate service claim-trial {service}",
    pb.SERVICE_ACTION_ENABLE_POSTPAID: "tallygate service enable-postpaid {service}",
    pb.SERVICE_ACTION_PURCHASE_RESERVATION: "tallygate service reserve {service} --input-tpm N --output-tpm N --days N",
    pb.SERVICE_ACTION_RESUME: "tallygate service resume {service}",
    pb.SERVICE_ACTION_TOP_UP_ACCOUNT: "tallygate account top-up {account} --amount AMOUNT",
    pb.SERVICE_ACTION_PUBLISH_PRICE: "tallygate model publish-price {model} --input AMOUNT --output AMOUNT",
    pb.SERVICE_ACTION_RESTORE_MODEL: "tallygate model restore {model}",
    pb.SERVICE_ACTION_REOPEN_ACCOUNT: "tallygate account reopen {account}",
}


def remedies(service: pb.InferenceService) -> list[str]:
    """Commands by which the service runs again, or for the first time; each once, in the order of its remedies."""
    actions = dict.fromkeys(action for remedy in service.remedies for action in remedy.actions)
    account, _, own = service.name.removeprefix("accounts/").partition("/services/")
    names = {"service": f"{account}/{own}", "account": account, "model": service.model.removeprefix("models/")}
    return [_COMMANDS[action].format(**names) for action in actions if action in _COMMANDS]
