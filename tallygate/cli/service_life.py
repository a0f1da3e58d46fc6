"""The rest of `tallygate service`: deletion, an operator's stop, and what happened to a service."""

from __future__ import annotations

from typing import Annotated

import typer

from tallygate.cli.console import print_list
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    KeyOption,
    control_channel,
    key_or_new,
)
from tallygate.cli.services import ServiceArgument, print_service
from tallygate.cli.services import app as service_app
from tallygate.cli.show_accounts import event_table
from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc

app = service_app
_Stub = lifecycle_service_pb2_grpc.LifecycleServiceStub


@app.command()
def delete(
    service: ServiceArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Deletes a custom service; its name is never used again."""
    if not yes:
        typer.confirm(f"Delete {service} for good?", abort=True, err=True)
    request = lifecycle_service_pb2.DeleteInferenceServiceRequest(
        name=service, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        answer = _Stub(channel).DeleteInferenceService(request, timeout=TIMEOUT_S)
        print_service(answer.inference_service, json=json)


@app.command()
def suspend(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Stops a service as its operator, whatever pays for it, until it is resumed."""
    request = lifecycle_service_pb2.SuspendInferenceServiceRequest(
        name=service, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        answer = _Stub(channel).SuspendInferenceService(request, timeout=TIMEOUT_S)
        print_service(answer.inference_service, json=json)


@app.command()
def resume(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Lifts a suspension."""
    request = lifecycle_service_pb2.ResumeInferenceServiceRequest(
        name=service, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        answer = _Stub(channel).ResumeInferenceService(request, timeout=TIMEOUT_S)
        print_service(answer.inference_service, json=json)


@app.command()
def events(
    service: ServiceArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the changes of a service's status and stop reasons, the oldest first."""
    request = lifecycle_service_pb2.ListServiceEventsRequest(inference_service=service)
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListServiceEvents, request, "service_events")
        print_list(found, lambda: event_table(found.service_events), json=json, csv=csv)
