"""What servers say of services outside of their account: it is answered as of services that there are not."""

from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
from grpc.aio import AioRpcError

from tallygate.metering.v1 import decision_pb2, metering_service_pb2, report_pb2
from tests.simulation.chance import Chance
from tests.simulation.jobs import AUTHORIZE, FINISH, PROGRESS, Job

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

TOKENS = 7
ABROAD = "x"
"""Begin of the ids of requests that there must be nothing of."""


async def trespass(world: "World", chance: Chance) -> None:
    """Ask for, and report on, what belongs to the other account, a request that runs there included."""
    servers = [server for server in world.alive_servers if not server.party.paused]
    process = world.some_node()
    if not servers or process is None or process.servicer is None:
        return
    server = chance.pick(servers)
    abroad = [name for name in world.people.service_names if not server.token.speaks_of(name)]
    service = chance.pick(abroad)
    world.credentials.trespass_count += 1
    own_id = f"{ABROAD}{world.credentials.trespass_count}"
    reports = [_report(own_id, service, AUTHORIZE), _report(own_id, service, FINISH)]
    running = [job for job in world.jobs if job.begun and not job.finished and not server.token.speaks_of(job.service)]
    if running:
        reports += _reports_on(chance.pick(running))
    await world.loop.spawn(server.party, _say(world, process, server, reports))


def _report(request_id: str, service: str, phase: int) -> report_pb2.TokenReport:
    report = report_pb2.TokenReport(request_id=request_id, service=service, phase=phase)  # type: ignore[arg-type]
    report.usage.output_tokens = TOKENS if phase == FINISH else 0
    return report


def _reports_on(job: Job) -> list[report_pb2.TokenReport]:
    """How somebody else's request goes on and ends, with its token."""
    reports = [_report(job.request_id, job.service, phase) for phase in (PROGRESS, FINISH)]
    for report in reports:
        report.usage.output_tokens, report.resume = job.output_tokens + TOKENS, job.token
    return reports


async def _say(world: "World", process: object, server: object, reports: list[report_pb2.TokenReport]) -> None:
    call = server.open_stream(process)  # type: ignore[attr-defined]
    request = metering_service_pb2.MeterRequest(first_sequence=1, reports=reports)
    with suppress(AioRpcError):
        await call.write(request)
        await call.done_writing()
        while (message := await call.read()) is not grpc.aio.EOF:
            for decision in message.decisions:
                world.chance.note("trespass answered")
                world.check(
                    decision.verdict == decision_pb2.VERDICT_DENY
                    and decision.reason == decision_pb2.DECISION_REASON_UNKNOWN_SERVICE,
                    f"{call.caller} is told of another account's {decision.request_id}: {decision}",
                )
    call.cancel()


def check_records(world: "World") -> None:
    """Nothing of it is on record."""
    rows = world.metering.rows("SELECT service, request_id FROM requests WHERE request_id LIKE ?", f"{ABROAD}%")
    world.check(not rows, f"{len(rows)} requests are on record of servers that may not speak of them")
