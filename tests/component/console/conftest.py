"""A console for tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.console.console_harness import Stage, console_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Everything fresh."""
    async with console_stage(tmp_path) as stage:
        yield stage
