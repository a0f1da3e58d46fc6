"""The client library in the inference server: decisions on a grant that it holds, and progress at every step."""

from benchmarks.bench import Bench, Variant

NAME = "a token at a time, one thread"
RUNNING = (256, 4_096)
GAIN, GAIN_AIM = 5.0, 10.0
"""Multiples of an older client's reports for each second of its processor."""


def _steps(requests: int) -> str:
    return f"every step said, {requests:,} running"


async def run(bench: Bench) -> None:
    """Against a real node, which grants."""
    async with bench.real("sqlite") as target:
        goal = Variant(NAME, target, {"kind": "client"}, at_least=1e6, aim=2e6, unit="decisions/s")
        await bench.compare("client", [goal])
        steps = [
            Variant(
                _steps(requests),
                target,
                {"kind": "steps", "requests": requests},
                unit="reports/s of processor",
                gain=GAIN,
                gain_aim=GAIN_AIM,
            )
            for requests in RUNNING
        ]
        await bench.compare("client", steps)
