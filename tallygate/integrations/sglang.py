"""Checks of SGLang before it starts: in some of its modes it serves by ports that no middleware is in."""

from __future__ import annotations

import os
from collections.abc import Mapping

_OPTIONS = {
    "encoder_only": "--encoder-only",
    "smg_grpc_mode": "--smg-grpc-mode",
    "grpc_mode": "--grpc-mode",
    "grpc_port": "--grpc-port",
    "sidecar": "--sidecar",
}
"""Fields of SGLang's arguments, and the options that set them."""
_FALSE = {"", "0", "false", "no", "n"}


def require_metered(server_args: object, environment: Mapping[str, str] = os.environ) -> None:
    """Refuses to start SGLang in a mode in which its requests would not be metered.

    Args:
        server_args: What `sglang.srt.server_args.prepare_server_args` returned.
        environment: The variables that SGLang reads.

    Raises:
        ValueError: It would serve without its Python app, or beside it.
    """
    found = [option for field, option in _OPTIONS.items() if getattr(server_args, field, None)]
    if environment.get("SGLANG_RUST_SERVER", "").lower() not in _FALSE:
        found.append("SGLANG_RUST_SERVER")
    if environment.get("SGLANG_GRPC_PORT", ""):
        found.append("SGLANG_GRPC_PORT")
    if found:
        raise ValueError(f"SGLang would serve requests that are not metered: start it without {', '.join(found)}")
