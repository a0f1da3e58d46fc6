"""The label by which a node joins a request to the trace that its client began."""

import pytest

from tallygate.integrations.environment import log_level_from
from tallygate.integrations.intake import trace_labels

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("value", [SAMPLED, b" " + SAMPLED, SAMPLED[:-2] + b"ff"])
def test_a_sampled_trace_is_passed_on(value: bytes) -> None:
    """As it came, whatever other flags it has."""
    headers = [(b"x-other", b"1"), (b"Traceparent", value)]
    assert trace_labels({"headers": headers}) == {"traceparent": value.strip().decode()}


@pytest.mark.parametrize("value", [SAMPLED[:-2] + b"00", SAMPLED + b"-more", b"", b"\xff" * 55])
def test_others_are_not(value: bytes) -> None:
    """What nobody samples, and what is no trace: no label, which would be recorded by older nodes."""
    assert trace_labels({"headers": [(b"traceparent", value)]}) is None
    assert trace_labels({"headers": []}) is None


def test_levels_of_single_modules_are_the_services_own() -> None:
    """One file says the level of all programs."""
    assert log_level_from({"TALLYGATE_LOG_LEVEL": "metering_service=debug,warning"}) == "WARNING"
    with pytest.raises(ValueError, match="TALLYGATE_LOG_LEVEL is LOUD"):
        log_level_from({"TALLYGATE_LOG_LEVEL": "loud"})
