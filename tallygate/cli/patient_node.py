"""A node that is asked for one page after the other, and may be started again meanwhile."""

from __future__ import annotations

import time
from typing import Any, Final

import grpc

from tallygate.cli.rpc import TIMEOUT_S
from tallygate.metering.v1 import usage_service_pb2_grpc

AWAY_MAX_S: Final = 60.0
"""Maximum time that a node may be away between two answers."""
ASK_AGAIN_S: Final = 0.5
"""Interval at which a node that is away is asked again."""


class PatientNode:
    """Asks a node for usage. One that has answered once is there, and is asked again while it is away."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        self._away_s = 0.0

    def ask(self, call: Any, request: Any) -> Any:
        """An answer that is on its way, for `answer`. `call`: a method of the stub."""
        return call.future(request, timeout=TIMEOUT_S)

    def answer(self, call: Any, request: Any, coming: Any) -> Any:
        """The answer that is on its way; it is asked for again while the node is away, but not for longer than that."""
        give_up_at_s = time.monotonic() + self._away_s
        while True:
            try:
                answer = coming.result()
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() >= give_up_at_s:
                    raise
            else:
                self._away_s = AWAY_MAX_S
                return answer
            time.sleep(ASK_AGAIN_S)
            coming = self.ask(call, request)
