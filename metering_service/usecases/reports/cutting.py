"""What a request's record says of its end, where that was not its server's own: why it was told to stop.

It goes into the record of a running request with the next checkpoint, and into that of a booked one with its booking.
"""

from metering_service.domain.cut import Cut
from metering_service.domain.decision import Decision
from metering_service.domain.request import Request
from metering_service.usecases.node import Node
from metering_service.usecases.reports.denial import refuse
from metering_service.usecases.state.service_state import ServiceState


def cut(node: Node, request: Request, denial: Decision) -> Decision:
    """Note that the server of a request is told to stop now; returns the denial that tells it.

    The first one holds: what is said to a server that is stopping already says no more of why.
    """
    if not _is_cut(request):
        _note(node, request, denial, 0)
        if request.is_open:
            node.checkpoints.add(request)
    return denial


def end_at_ceiling(node: Node, service: ServiceState, request: Request) -> None:
    """Note why a grant is the last one, where payers or budgets have no more: at its ceiling the server has to stop."""
    if not _is_cut(request):
        held = request.held
        lack = refuse(node, service, request, held.input_tokens, held.output_ceiling_tokens + 1)
        _note(node, request, lack, request.ceiling_tokens)


def let_go_on(node: Node, request: Request) -> None:
    """The grant of a request is raised: whatever its server was told before, it may go on after all."""
    if request.told is not None:
        request.told = None
        request.terms_changed()
        node.checkpoints.add(request)


def _is_cut(request: Request) -> bool:
    return request.told is not None and request.output_tokens >= request.told.output_tokens


def _note(node: Node, request: Request, denial: Decision, output_tokens: int) -> None:
    assert denial.reason is not None
    budget = denial.budget.name if denial.budget is not None else ""
    request.told = Cut(denial.reason, node.clock.now_us(), output_tokens, budget)
    request.terms_changed()
