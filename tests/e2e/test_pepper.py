"""A control service that is started with another pepper than before."""

import asyncio
import sys
from pathlib import Path

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.guarded import made_secrets
from tests.harness.programs.programs import start


async def test_control_does_not_start_with_another_pepper(tmp_path: Path) -> None:
    """It says which file is wrong, in one sentence; with the first one it starts again."""
    homes = [tmp_path / name for name in ("own", "another")]
    for home in homes:
        home.mkdir()
    own, another = map(made_secrets, homes)
    served = ["--listen", "127.0.0.1:0", "--database-url", f"sqlite:///{tmp_path}/control.sqlite3"]
    for number in range(2):
        control = await start("control_service", [*served, *own.options], tmp_path / f"control-{number}.log")
        await control.stop()
        refused = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "control_service", *served, *another.options),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_S):
            _, said = await refused.communicate()
        assert refused.returncode == 2
        assert f"The pepper in {another.pepper_file} is not the one" in said.decode()
