"""Usage as people see it."""

from tallygate.cli.show_usage import request_table, usage_table
from tallygate.metering.v1 import decision_pb2, request_usage_pb2, usage_bucket_pb2, usage_service_pb2


def test_no_total_is_not_a_total_of_nothing() -> None:
    """A node that is one version older says none."""
    buckets = [usage_bucket_pb2.UsageBucket(request_count=1)] * 2
    answer = usage_service_pb2.QueryUsageResponse(buckets=buckets)
    assert usage_table(answer, ()).row_count == len(buckets)
    answer.total.request_count = 2
    assert usage_table(answer, ()).row_count == len(buckets) + 1


def test_a_request_that_had_to_end_says_why() -> None:
    """With the budget, if one refused; what a newer node says besides is left out."""
    cuts = (
        request_usage_pb2.RequestCut(reason=decision_pb2.DECISION_REASON_SUSPENDED),
        request_usage_pb2.RequestCut(
            reason=decision_pb2.DECISION_REASON_BUDGET_EXCEEDED, budget="accounts/acme/budgets/cap"
        ),
        None,
    )
    state = request_usage_pb2.SETTLEMENT_STATE_FINISHED
    rows = request_table([request_usage_pb2.RequestUsage(state=state, cut=cut) for cut in cuts])
    (_, _, states, *_) = rows.columns
    assert [str(cell) for cell in states.cells] == [
        "FINISHED (cut: SUSPENDED)",
        "FINISHED (cut: BUDGET_EXCEEDED, accounts/acme/budgets/cap)",
        "FINISHED",
    ]
