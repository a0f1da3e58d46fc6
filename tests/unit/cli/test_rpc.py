"""What a person reads when a call fails."""

from __future__ import annotations

from typing import Any

import grpc
from typing_extensions import override

from tallygate.cli.rpc import key_or_new, metering_addresses, sentence


class _Failed(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return ""

    def trailing_metadata(self) -> tuple[Any, ...]:
        return ()

    @override
    def __str__(self) -> str:
        return self._code.name


def test_a_call_that_was_not_answered_names_the_key_to_repeat_it_with() -> None:
    """Also where the key was made up: without it a repeat would be done twice."""
    made = key_or_new("")
    assert f"--idempotency-key {made}" in sentence(_Failed(grpc.StatusCode.DEADLINE_EXCEEDED), "control")
    assert "--idempotency-key mine" in sentence(_Failed(grpc.StatusCode.DEADLINE_EXCEEDED), key_or_new("mine"))


def test_nodes_come_one_by_one_or_with_commas() -> None:
    """Options that are repeated, and the variable, which has them all."""
    assert metering_addresses(["a:1", "b:2, c:3"]) == ["a:1", "b:2", "c:3"]
