"""Figures as a file: exact, and nothing in it that a spreadsheet would run."""

import csv
import io

import pytest

from tallygate.console.usage_figures import UsageLines
from tallygate.metering.v1.usage_bucket_pb2 import UsageBucket


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1+1", "'=1+1"), ("@sum", "'@sum"), ("-2", "'-2"), ("+1", "'+1"), ("\t=1", "'\t=1"), ("prod", "prod"), ("", "")],
)
def test_a_label_is_no_formula(value: str, cell: str) -> None:
    """Whatever a request said of itself; figures stay numbers, debits included."""
    bucket = UsageBucket(group={"label:stage": value}, cost_nanos=-3)
    (row,) = csv.DictReader(io.StringIO(UsageLines("label:stage").of([bucket]).decode()))
    assert (row["label_stage"], row["cost_nanos"]) == (cell, "-3")
