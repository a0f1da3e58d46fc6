"""Remedies: commands that clear what stops a service."""

from __future__ import annotations

import io
import shlex
from typing import Any

import pytest
from rich.console import Console

from tallygate.cli.on_demand import load
from tallygate.cli.remedies import remedies
from tallygate.cli.show import service_facts
from tallygate.control.v1 import inference_service_pb2 as pb

NAME = "accounts/acme/services/default-llama"
REASONS = [number for number in pb.StopReason.values() if number]


def stopped(*reasons: Any) -> pb.InferenceService:
    return pb.InferenceService(name=NAME, model="models/llama", status=pb.SERVICE_STATUS_STOPPED, stop_reasons=reasons)


def shown(service: pb.InferenceService) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(service_facts(service))
    return file.getvalue()


@pytest.mark.parametrize("reason", REASONS)
def test_each_stop_reason_has_a_command_that_there_is(reason: Any) -> None:
    """With the names filled in, so that it can be copied."""
    (remedy,) = remedies(stopped(reason))
    _, group, command, name, *_ = shlex.split(remedy)
    assert command in load(group).commands
    assert name in {"acme", "acme/default-llama", "llama"}


def test_several_reasons_name_each_command_once() -> None:
    """In the order of the reasons."""
    service = stopped(pb.STOP_REASON_SUSPENDED, pb.STOP_REASON_TRIAL_EXPIRED, pb.STOP_REASON_POSTPAID_DISABLED)
    assert remedies(service) == [
        "tallygate service resume acme/default-llama",
        "tallygate service enable-postpaid acme/default-llama",
    ]


def test_a_service_that_nobody_started_says_how_to_start_it() -> None:
    """And one that runs has nothing to be cleared."""
    assert remedies(pb.InferenceService(name=NAME, model="models/llama", status=pb.SERVICE_STATUS_NOT_ENABLED)) == [
        "tallygate service claim-trial acme/default-llama",
        "tallygate service enable-postpaid acme/default-llama",
    ]
    assert remedies(pb.InferenceService(name=NAME, status=pb.SERVICE_STATUS_RUNNING)) == []


def test_a_service_is_shown_with_its_remedy() -> None:
    """Next to what is wrong."""
    assert "tallygate account top-up acme --amount" in shown(stopped(pb.STOP_REASON_ACCOUNT_OVERDUE))


@pytest.mark.parametrize(("left", "filled"), [(0, 0), (1, 1), (50, 10), (99, 20), (100, 20)])
def test_a_trial_is_shown_as_a_bar(left: int, filled: int) -> None:
    """What is left of it, however little, shows."""
    service = stopped(pb.STOP_REASON_SUSPENDED)
    service.free_trial.quota_tokens, service.free_trial.remaining_tokens = 100, left
    assert "█" * filled + "░" * (20 - filled) in shown(service)
