"""SGLang is not started where it would serve beside the middleware."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tallygate.integrations.sglang import require_metered


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("encoder_only", True, "--encoder-only"),
        ("smg_grpc_mode", True, "--smg-grpc-mode"),
        ("grpc_mode", True, "--grpc-mode"),
        ("grpc_port", 50051, "--grpc-port"),
    ],
)
def test_a_door_without_the_middleware_is_refused(field: str, value: object, option: str) -> None:
    """Whichever option opens it, by its name."""
    args = SimpleNamespace(encoder_only=False, smg_grpc_mode=False, grpc_mode=False, grpc_port=None)
    require_metered(args, {"SGLANG_RUST_SERVER": "0"})
    setattr(args, field, value)
    with pytest.raises(ValueError, match=option):
        require_metered(args, {})


@pytest.mark.parametrize(
    "variables", [{"SGLANG_RUST_SERVER": "1"}, {"SGLANG_RUST_SERVER": "True"}, {"SGLANG_GRPC_PORT": "5"}]
)
def test_variables_open_doors_as_well(variables: dict[str, str]) -> None:
    """SGLang reads them where its options say nothing."""
    with pytest.raises(ValueError, match=next(iter(variables))):
        require_metered(SimpleNamespace(), variables)
