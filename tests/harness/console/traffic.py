"""Requests of an inference server, while somebody looks at the console."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from tallygate.metering.v1 import decision_pb2, report_pb2, token_usage_pb2
from tallygate.metering.v1 import metering_service_pb2 as metering
from tests.harness.patience import until_found
from tests.harness.tenants.town import Town

TOO_MANY_TOKENS: Final = 100_000_000


async def use(town: Town, token: str, service: str, *, input_tokens: int, output_tokens: int = 0) -> str:
    """A request that is authorised, as soon as it may be, and has ended; its id."""
    usage = token_usage_pb2.TokenUsage(input_tokens=input_tokens)
    report = report_pb2.TokenReport(
        request_id=secrets.token_hex(8),
        service=service,
        phase=report_pb2.REPORT_PHASE_AUTHORIZE,
        usage=usage,
        max_output_tokens=output_tokens,
    )

    async def is_allowed() -> bool:
        return (await _authorize(town, token, report)).verdict == decision_pb2.VERDICT_ALLOW

    await until_found(is_allowed)
    report.phase = report_pb2.REPORT_PHASE_FINISH
    report.usage.output_tokens = output_tokens
    await asyncio.to_thread(town.do, metering.ReportRequest(report=report), token)
    return report.request_id


async def knock(town: Town, token: str, service: str, *, until: str) -> None:
    """Requests that nobody can pay, until the reason is this one."""
    wanted = decision_pb2.DecisionReason.Value(f"DECISION_REASON_{until}")

    async def is_denied_so() -> bool:
        report = report_pb2.TokenReport(
            request_id=secrets.token_hex(8),
            service=service,
            phase=report_pb2.REPORT_PHASE_AUTHORIZE,
            usage=token_usage_pb2.TokenUsage(input_tokens=TOO_MANY_TOKENS),
        )
        return (await _authorize(town, token, report)).reason == wanted

    await until_found(is_denied_so)


async def _authorize(town: Town, token: str, report: report_pb2.TokenReport) -> decision_pb2.Decision:
    answer = await asyncio.to_thread(town.do, metering.AuthorizeRequest(report=report), token)
    decision: decision_pb2.Decision = answer.decision
    return decision
