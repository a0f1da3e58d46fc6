"""Counts of RPCs: plain integers, a few for each call."""

from typing import Final

from tallygate._server.grpc.call import Spans
from tallygate._server.metrics.histogram import Histogram

OK: Final = "OK"
CANCELLED: Final = "CANCELLED"


class MethodCounts:
    """The calls of one method: those that are open, the codes of those that ended, and how long these took."""

    __slots__ = ("codes", "durations", "open_count")

    def __init__(self) -> None:
        self.open_count = 0
        self.codes: dict[str, int] = {}
        self.durations = Histogram()

    def end(self, code: str, duration_ns: int) -> None:
        """A call has ended."""
        self.open_count -= 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.durations.observe(duration_ns)


class RpcCounts:
    """The calls of one server, by method."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodCounts] = {}
        self.spans: Spans | None = None
        """Where each call has a span, as well."""
        self.unexpected = 0
        """Calls that ended by a mistake of the server."""

    def of(self, method: str) -> MethodCounts:
        """Those of the method of this name, `package.Service/Method`."""
        return self.methods.setdefault(method, MethodCounts())
