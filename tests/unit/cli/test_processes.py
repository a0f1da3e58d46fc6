"""Services as processes: what is said when one does not come up."""

from __future__ import annotations

import pytest

from tallygate.cli.processes import ProgramEndedError, ServiceProcess


async def test_a_program_that_ends_instead_of_serving_is_quoted() -> None:
    """The error has its exit status and the last line that it wrote to stderr."""
    lines: list[str] = []
    with pytest.raises(ProgramEndedError, match=r"ended with exit status 2: .*--nonsense"):
        await ServiceProcess.start("json.tool", ["--nonsense"], lambda _name, line: lines.append(line))
    assert lines[-1].endswith("--nonsense")
