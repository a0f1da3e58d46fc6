"""What must be true of requests while they run: what nodes know of them, let pass unseen, and have put on record."""

from typing import TYPE_CHECKING

from metering_service.domain.counts_page import PAGE_BITS, SLOT_MASK, counts_at
from metering_service.domain.request import Request
from metering_service.domain.running_counts import LINE, QUIET
from metering_service.usecases.state.service_state import ServiceState
from tests.simulation.jobs import PROGRESS, Job, Said

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

# Of a request, each part with the page that has its latest counts.
RECORDS = f"""
    SELECT output_tokens + reasoning_tokens AS tokens, place, data FROM requests LEFT JOIN counts_pages AS pages
    ON pages.node = requests.node AND pages.epoch = requests.epoch AND page = (place & {SLOT_MASK}) >> {PAGE_BITS}
    WHERE service = ? AND request_id = ?
"""  # noqa: S608  # numbers


def check_running(world: "World") -> None:
    """Of no request a node knows more than its server has said; nothing passes unseen beyond what is granted."""
    for process in world.nodes.values():
        if process is None or process.assembly is None or not process.alive:
            continue
        for service in process.assembly.node.services.values():
            for request in service.open.values():
                if request.running is not None:
                    whose = f"{process.party}: {request.request_id}"
                    _check_said(world, whose, request)
                    _check_quiet(world, whose, service, request)


def _check_said(world: "World", whose: str, request: Request) -> None:
    jobs = [server.jobs.get(request.request_id) for server in world.servers]
    said = [job.reported.output_tokens for job in jobs if job is not None and job.service == request.service]
    known = request.output_tokens
    world.check(not said or known <= max(said), f"{whose} has {known} output tokens, {said} were said")


def _check_quiet(world: "World", whose: str, service: ServiceState, request: Request) -> None:
    if not request.takes_fast_road or request.running is None:
        return
    quiet, ceiling = request.running.lines[request.slot * LINE + QUIET], request.ceiling_tokens
    world.check(quiet <= ceiling, f"{whose} may have {quiet} tokens unseen, {ceiling} are granted")
    runs = service.config is not None and service.config.refusal() is None
    world.check(runs, f"{whose} goes on unseen though its service is stopped")


def check_on_record(world: "World", job: Job, phase: int, said: Said) -> None:
    """Progress that its server is told is durable is on record, before anything of its end is said."""
    if phase != PROGRESS or job.final is not None or job.is_lost:
        return
    rows = world.metering.rows(RECORDS, job.service, job.request_id)
    pages = [counts_at(row["data"], row["place"]) for row in rows]
    known = [row["tokens"] for row in rows] + [page.output_class for page in pages if page is not None]
    most = max(known, default=0)
    world.check(
        said.output_tokens <= most, f"{job.request_id}: {most} output tokens on record of {said.output_tokens} durable"
    )
