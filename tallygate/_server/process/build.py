"""What a program was built from, as its first log line says it."""

from importlib.metadata import version


def build_fields(*, compiled: bool) -> dict[str, str]:
    """Version of the package, and whether decisions run as compiled code or as plain Python."""
    return {"version": version("tallygate"), "build": "compiled" if compiled else "pure"}
