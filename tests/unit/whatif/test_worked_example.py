"""A what-if worked out by hand: reservation, then trial, then money, to the nano."""

from __future__ import annotations

from pathlib import Path

from metering_service.domain.counts import Counts
from tallygate.whatif.compare import compare
from tallygate.whatif.settings import read_settings
from tallygate.whatif.workload import SECOND_US, Job, Workload

SETTINGS = """
balance = 10
[services.chat]
[services.chat.prices]  # 2,000 nanos for a token of input, 6,000 for one of output
input = 2
output = 6
[services.chat.trial]
tokens = 1_000
[services.chat.reservation_prices]
input = 1
output = 2
[[services.chat.reservations]]  # 0.6 x 1 and 0.3 x 2, for a day: 1.20
input_tpm = 600
output_tpm = 300
days = 1
"""
JOBS = (
    (0, 600, 256),  # all of it is reserved
    (300, 1_000, 512),  # 600 and 300 are reserved; 400 and 212 are left to the trial, which has 388 then
    (600, 800, 512),  # 600 and 300 reserved; of 200 and 212 the trial pays 200 and 188; 24 of output are billed
    (900, 600, 300),  # all of it is reserved
    (1_200, 1_000, 256),  # 600 and 256 reserved; 400 of input are billed
)


def test_the_example_comes_out_as_by_hand(tmp_path: Path) -> None:
    """24 x 6,000 and 400 x 2,000 nanos, beside what the reservation cost at its purchase."""
    path = tmp_path / "example.toml"
    path.write_text(SETTINGS)
    jobs = [Job(at * SECOND_US, "trace", Counts(input=read, output=said)) for at, read, said in JOBS]
    (outcome,) = compare(Workload(jobs), [read_settings(path)])
    chat = outcome.services["chat"]

    assert (chat.requests, chat.allowed, dict(chat.denials)) == (5, 5, {})
    assert chat.paid.reserved == Counts(input=3_000, output=256 + 300 + 300 + 300 + 256)
    assert chat.paid.trial == Counts(input=400 + 200, output=212 + 188)
    assert chat.paid.billed == Counts(input=400, output=24)
    assert chat.paid.unfunded == Counts()
    assert chat.paid.cost_nanos == 24 * 6_000 + 400 * 2_000
    assert chat.reservation_nanos == 1_200_000_000
    assert outcome.total_nanos == 1_200_944_000
    assert outcome.balance_nanos == 10_000_000_000 - 1_200_944_000
    # The request waited some milliseconds for each of its payers to be confirmed empty.
    assert chat.trial_end_us is not None
    assert (chat.trial_left_tokens, (chat.trial_end_us - outcome.start_us) // SECOND_US) == (0, 600)
    # Twenty minutes have accrued 20 x 600 and 20 x 300.
    use = chat.reservation_use
    assert use is not None
    assert (use.accrued_input, use.accrued_output, use.used_input, use.used_output) == (12_000, 6_000, 3_000, 1_412)
