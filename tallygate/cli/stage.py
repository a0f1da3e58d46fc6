"""The stage of the demo's story: a narrator, the two services, and traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.rule import Rule

from tallygate._channel import open_aio_channel
from tallygate.cli.money import format_amount
from tallygate.cli.replay import new_run_id, replay_live
from tallygate.cli.replay_display import agreement, reconciliation
from tallygate.cli.security import pair_security
from tallygate.cli.show import modes_text, status_text
from tallygate.client import Denial, Denied, MeteringClient
from tallygate.control.v1 import (
    account_service_pb2_grpc,
    catalog_service_pb2_grpc,
    inference_service_pb2,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    team_service_pb2_grpc,
)
from tallygate.replay.outcome import Outcome
from tallygate.replay.run import ReplayPlan
from tallygate.replay.trace import Trace

CURRENCY = "USD"
RULE_WIDTH_MAX = 100
_REQUESTS_PER_SECOND = 40
_STATUS_S = 60
_PATIENCE_S = 60
_TOO_MANY_TOKENS = 100_000_000
_POLL_S = 0.02


class StoryError(Exception):
    """Something did not go as the story has it; the message is what."""


class Stage:
    """Plays parts of a workload against the pair and prints the results."""

    def __init__(self, console: Console, *, control: str, metering: str, workload: Trace, fast: bool) -> None:
        self._console = console
        self._control = control
        self._metering = metering
        self._workload = workload
        self._fast = fast
        self._position = 0
        self._act = 0
        self._security = pair_security()
        self._channel = open_aio_channel(control, self._security)
        self.accounts = account_service_pb2_grpc.AccountServiceStub(self._channel)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self._channel)
        self.lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(self._channel)
        self.teams = team_service_pb2_grpc.TeamServiceStub(self._channel)
        self.outcomes: list[Outcome] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    def act(self, title: str, text: str) -> None:
        """Prints a heading and what is about to happen."""
        self._act += 1
        self._console.print()
        # In a file or a pipe, which has no width of its own, a line is as long as on a terminal.
        width = min(self._console.width, RULE_WIDTH_MAX)
        self._console.print(Rule(f"[bold]{self._act}. {title}[/]", align="left"), width=width)
        self._console.print(text)

    def command(self, line: str) -> None:
        """Prints the command that a person would type for this step."""
        self._console.print(f"[dim]$ tallygate {line}[/]")

    def note(self, text: str) -> None:
        """Prints a result."""
        self._console.print(f"  {text}")

    async def request_once(self, service: str, *, input_tokens: int = 100) -> Denial | None:
        """Sends one request by itself; returns its denial, or None."""
        async with MeteringClient([self._metering], security=self._security) as client:
            request = client.request(service, request_id=new_run_id(), input_tokens=input_tokens, max_output_tokens=20)
            try:
                async with request:
                    return None
            except Denied as denied:
                return denied.denial

    async def request_until(self, service: str, *, until: str) -> bool:
        """Sends requests that nobody can pay until the reason is `until`; False if it is another after a while."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            denial = await self.request_once(service, input_tokens=_TOO_MANY_TOKENS)
            if denial is not None and denial.reason == until:
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def until(
        self, service: str, what: str, is_so: Callable[[inference_service_pb2.InferenceService], bool]
    ) -> inference_service_pb2.InferenceService:
        """Waits until a service is as the story has it, and prints it. Raises StoryError after a while."""
        started = time.monotonic()
        while True:
            found = await self.service(service)
            if is_so(found):
                break
            if time.monotonic() - started > _STATUS_S:
                raise StoryError(f"{service} should be {what} and is {status_text(found)}")
            await asyncio.sleep(_POLL_S)
        waited_ms = int((time.monotonic() - started) * 1_000)
        self.note(f"[bold]{found.name.rpartition('/')[2]}[/]: {status_text(found)}, billed {modes_text(found)}")
        if waited_ms > _POLL_S * 1_000:
            self.note(f"[dim]after {waited_ms} ms[/]")
        return found

    async def service(self, name: str) -> inference_service_pb2.InferenceService:
        """A service as it is now."""
        request = lifecycle_service_pb2.GetInferenceServiceRequest(name=name)
        return (await self.lifecycle.GetInferenceService(request)).inference_service

    async def play(self, service: str, requests: int) -> Outcome:
        """The next requests of the workload, reconciled. Raises StoryError where the books do not agree."""
        part = self._next(requests)
        plan = ReplayPlan(
            service=service,
            control=self._control,
            metering=[self._metering],
            run_id=new_run_id(),
            servers=2,
            speed=self._speed(part),
            report_every=20,
            security=self._security,
        )
        outcome = await replay_live(part, plan, currency=CURRENCY, title=f"{requests} requests", console=self._console)
        self.outcomes.append(outcome)
        paid, tally = outcome.tally.receipts, outcome.tally
        payers = [
            f"{tokens.total:,} {name}"
            for name, tokens in (("reserved", paid.reserved), ("trial", paid.trial), ("billed", paid.billed))
            if tokens.total
        ]
        self.note(f"tokens: {', '.join(payers) or 'none'}; cost {format_amount(paid.cost_nanos, CURRENCY)}")
        if tally.denied:
            self.note("denied: " + ", ".join(f"{count:,} {reason}" for reason, count in tally.denials.most_common()))
        self._console.print(agreement(outcome))
        if not outcome.reconciled:
            self._console.print(reconciliation(outcome, CURRENCY))
            raise StoryError(f"the books of {service} do not agree")
        return outcome

    def _next(self, requests: int) -> Trace:
        if self._position + requests > len(self._workload):
            self._position = 0
        part = self._workload.part(self._position, self._position + requests)
        self._position += requests
        return part

    def _speed(self, part: Trace) -> int | None:
        """The speed at which people can watch it, at any pace of the trace."""
        if self._fast:
            return None
        span_us = part.offsets_us[-1]
        return max(1, span_us * _REQUESTS_PER_SECOND // (len(part) * 1_000_000))
