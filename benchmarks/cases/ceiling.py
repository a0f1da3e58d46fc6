"""What the transport can do: the trivial server, by stream and by unary calls."""

from benchmarks.bench import Bench, Variant

TIMES_UNARY_MIN = 150.0


async def run(bench: Bench) -> None:
    """A run whose ceiling is not well above unary calls measures something else than it should."""
    async with bench.trivial() as target:
        await bench.compare(
            "ceiling",
            [
                Variant("unary, trivial", target, {"kind": "unary"}, unit="calls/s"),
                Variant(
                    "progress 256, trivial",
                    target,
                    {"message_size": 256},
                    ceiling="unary, trivial",
                    at_least=TIMES_UNARY_MIN,
                ),
            ],
        )
