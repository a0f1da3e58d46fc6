"""Usage as people see it."""

from tallygate.cli.show_usage import usage_table
from tallygate.metering.v1 import usage_bucket_pb2, usage_service_pb2


def test_no_total_is_not_a_total_of_nothing() -> None:
    """A node that is one version older says none."""
    buckets = [usage_bucket_pb2.UsageBucket(request_count=1)] * 2
    answer = usage_service_pb2.QueryUsageResponse(buckets=buckets)
    assert usage_table(answer, ()).row_count == len(buckets)
    answer.total.request_count = 2
    assert usage_table(answer, ()).row_count == len(buckets) + 1
