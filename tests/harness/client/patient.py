"""Settings of a client that goes on waiting where a busy machine has stopped a test for some seconds."""

from tallygate.client import ClientSettings
from tests.harness.patience import PATIENCE_S

_PATIENCE_MS = int(PATIENCE_S * 1_000)
PATIENT = ClientSettings(
    heartbeat_ms=50,
    silence_ms=_PATIENCE_MS,
    answer_ms=_PATIENCE_MS,
    receipt_ms=_PATIENCE_MS,
    close_ms=_PATIENCE_MS,
    backoff_base_ms=5,
    backoff_cap_ms=20,
)
"""Settings for every test but those of what a client gives up; it notices at once that a stream has ended."""
