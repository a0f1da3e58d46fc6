"""Remedies: the commands for what the control service says would make a service run."""

from __future__ import annotations

import io
import shlex

import pytest
from rich.console import Console

from tallygate.cli.on_demand import load
from tallygate.cli.remedies import remedies
from tallygate.cli.show import service_facts
from tallygate.control.v1 import inference_service_pb2 as pb

NAME = "accounts/acme/services/chat"
MAKES_RUN = (
    pb.SERVICE_ACTION_CLAIM_FREE_TRIAL,
    pb.SERVICE_ACTION_ENABLE_POSTPAID,
    pb.SERVICE_ACTION_PURCHASE_RESERVATION,
    pb.SERVICE_ACTION_RESUME,
    pb.SERVICE_ACTION_TOP_UP_ACCOUNT,
    pb.SERVICE_ACTION_PUBLISH_PRICE,
    pb.SERVICE_ACTION_RESTORE_MODEL,
    pb.SERVICE_ACTION_REOPEN_ACCOUNT,
)
"""Actions that are remedies."""


def stopped(*actions: pb.ServiceAction.ValueType) -> pb.InferenceService:
    """A service with a remedy of each of these actions."""
    return pb.InferenceService(
        name=NAME,
        model="models/llama",
        status=pb.SERVICE_STATUS_STOPPED,
        remedies=[pb.Remedy(actions=[action]) for action in actions],
    )


def shown(service: pb.InferenceService) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(service_facts(service))
    return file.getvalue()


@pytest.mark.parametrize("action", MAKES_RUN)
def test_each_remedy_has_a_command_that_there_is(action: pb.ServiceAction.ValueType) -> None:
    """With the names filled in, so that it can be copied."""
    (remedy,) = remedies(stopped(action))
    _, group, command, name, *_ = shlex.split(remedy)
    assert command in load(group).commands
    assert name in {"acme", "acme/chat", "llama"}


def test_several_remedies_name_each_command_once() -> None:
    """In the order of the remedies."""
    resume, enable = pb.SERVICE_ACTION_RESUME, pb.SERVICE_ACTION_ENABLE_POSTPAID
    assert remedies(stopped(enable, resume, enable)) == [
        "tallygate service enable-postpaid acme/chat",
        "tallygate service resume acme/chat",
    ]
    assert remedies(stopped()) == []


def test_a_service_is_shown_with_its_remedy() -> None:
    """Next to what is wrong."""
    assert "tallygate account top-up acme --amount" in shown(stopped(pb.SERVICE_ACTION_TOP_UP_ACCOUNT))


@pytest.mark.parametrize(("left", "filled"), [(0, 0), (1, 1), (50, 10), (99, 20), (100, 20)])
def test_a_trial_is_shown_as_a_bar(left: int, filled: int) -> None:
    """What is left of it, however little, shows."""
    service = stopped(pb.SERVICE_ACTION_RESUME)
    service.free_trial.quota_tokens, service.free_trial.remaining_tokens = 100, left
    assert "█" * filled + "░" * (20 - filled) in shown(service)
