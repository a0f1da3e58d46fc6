"""Detection of a server whose own settings make it report the usage of all streams."""

from __future__ import annotations


def forces_usage(*apps: object) -> bool:
    """Looks into the apps at hand; those of other servers have no such settings.

    vLLM (0.32) keeps its arguments in `app.state.args`, SGLang (0.5.23) in `app.server_args`.
    """
    for app in apps:
        arguments = getattr(getattr(app, "state", None), "args", None)
        if getattr(arguments, "enable_force_include_usage", False) is True:
            return True
        if getattr(getattr(app, "server_args", None), "stream_response_default_include_usage", False) is True:
            return True
    return False
