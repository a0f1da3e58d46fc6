"""Numbers that stand in programs which share no code: they are the same, and the contract says them."""

from pathlib import Path

from control_service.api.catalog_codec import SMALLEST_REQUEST_TOKENS_DEFAULT
from control_service.domain import brought_secret, input_bounds
from control_service.domain import model as control_model
from metering_service.domain import report
from metering_service.domain import service as metering_service_facts
from metering_service.domain.service import ServiceConfig, Status
from tallygate.client import bounds
from tallygate.integrations.openai import limits

MODEL_PROTO = Path(__file__).parents[2] / "protos/tallygate/control/v1/model.proto"


def comment_of(field: str) -> str:
    """The contract's words on a field of Model, on one line."""
    lines = [line.strip() for line in MODEL_PROTO.read_text().splitlines()]
    end = next(index for index, line in enumerate(lines) if f" {field} = " in line)
    start = end
    while lines[start - 1].startswith("//"):
        start -= 1
    return " ".join(line.removeprefix("//").strip() for line in lines[start:end])


def test_the_smallest_request_has_one_default() -> None:
    """Control sets it for new models, a node assumes it, and the middleware refuses whole answers with less left."""
    assert limits.SMALLEST_ANSWER_TOKENS == SMALLEST_REQUEST_TOKENS_DEFAULT
    assert ServiceConfig("s", Status.RUNNING).smallest_request_tokens == SMALLEST_REQUEST_TOKENS_DEFAULT
    assert f"Default {SMALLEST_REQUEST_TOKENS_DEFAULT}." in comment_of("smallest_request_tokens")


def test_an_answer_without_a_limit_has_one_default() -> None:
    """Control sends it with each service; a node assumes it of a control service that does not."""
    default = control_model.WHOLE_OUTPUT_TOKENS_DEFAULT
    assert default == metering_service_facts.WHOLE_OUTPUT_TOKENS_DEFAULT
    assert f"Default {default:,}." in comment_of("whole_output_tokens_default")


def test_a_client_refuses_what_a_node_refuses() -> None:
    """Before it is sent: a message with one report that is far too large would break the stream."""
    assert bounds.REQUEST_ID_BYTES_MAX == report.REQUEST_ID_BYTES_MAX
    assert bounds.NAME_BYTES_MAX == report.SERVICE_BYTES_MAX == report.CREDENTIAL_BYTES_MAX
    assert brought_secret.LENGTH_MAX == report.CREDENTIAL_BYTES_MAX  # Longer ones would open nothing.
    assert (bounds.LABELS_MAX, bounds.LABEL_BYTES_MAX) == (report.LABELS_MAX, report.LABEL_BYTES_MAX)
    assert bounds.HOLD_FOR_S_MAX * 10**9 == report.HOLD_FOR_NS_MAX
    assert bounds.TOKENS_MAX == report.TOKENS_MAX == input_bounds.ANSWER_TOKENS_MAX
