"""Denials as people see them."""

from google.protobuf.duration_pb2 import Duration

from tallygate.cli.explain import denials_table
from tallygate.metering.v1 import decision_pb2, explanation_pb2


def test_a_denial_says_when_another_attempt_is_worth_it() -> None:
    """To the millisecond; a node need not know."""
    decisions = (
        decision_pb2.Decision(retryable=True, retry_after=Duration(seconds=26, nanos=100_000_000)),
        decision_pb2.Decision(retryable=True),
        decision_pb2.Decision(),
    )
    denials = [("127.0.0.1:7402", explanation_pb2.RequestDenial(decision=decision)) for decision in decisions]
    again = next(column for column in denials_table(denials).columns if column.header == "worth another attempt")
    assert [str(cell) for cell in again.cells] == ["after 26.1 s", "yes", "no"]
