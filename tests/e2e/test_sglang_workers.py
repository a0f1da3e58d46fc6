"""The recipe for SGLang, as its page has it, with several workers started in the way in which SGLang starts them.

SGLang itself needs a GPU and gigabytes. What stands in for it does what matters here: its `run_server` gives uvicorn
the path of the app and a number of workers, each a process that imports the program anew.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import httpx2

from tests.harness.patience import PATIENCE_S
from tests.harness.ports import held_port

ROOT = Path(__file__).parents[2]
STAND_IN = {
    "launch_server.py": """
import uvicorn
def run_server(args):
    app = "sglang.srt.entrypoints.http_server:app"
    uvicorn.run(app, host="127.0.0.1", port=args.port, workers=2, timeout_keep_alive=60)
""",
    "srt/server_args.py": """
from types import SimpleNamespace
def prepare_server_args(arguments):
    return SimpleNamespace(port=int(arguments[-1]))
""",
    "srt/utils.py": """
def kill_process_tree(pid, include_parent=True):
    pass
""",
    "srt/entrypoints/http_server.py": """
import os
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"pid": os.getpid()}
@app.post("/generate")
def generate():
    return {"text": "for nothing", "pid": os.getpid()}
""",
}


def _lay_out(folder: Path) -> Path:
    """The stand-in, and the page's program beside it."""
    for name, code in STAND_IN.items():
        path = folder / "sglang" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    for package in ("", "srt", "srt/entrypoints"):
        (folder / "sglang" / package / "__init__.py").touch()
    page = (ROOT / "docs/integrations/sglang.md").read_text()
    program = re.search(r"```python\n(# serve\.py.*?)```", page, re.DOTALL)
    assert program is not None
    (folder / "serve.py").write_text(program[1])
    (folder / "services.toml").write_text('[keys]\n"sk-acme" = "acme"\n')
    return folder / "serve.py"


async def _statuses(url: str) -> dict[int, int]:
    """Of two workers, the status of a request without a key, by process: each connection stays with one of them."""
    seen: dict[int, int] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(seen) < 2:  # workers
            try:
                async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
                    worker = (await client.get("/health")).json()["pid"]
                    seen[worker] = (await client.post("/generate", json={"text": "x"})).status_code
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
    return seen


async def test_each_worker_is_metered(tmp_path: Path) -> None:
    """Whichever of them a request reaches, it has to have a key."""
    serve = _lay_out(tmp_path)
    port = held_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TALLYGATE_")},
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "TALLYGATE_METERING_ADDRESSES": "127.0.0.1:9",
        "TALLYGATE_SERVICES": str(tmp_path / "services.toml"),
    }
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(serve), "--port", str(port)), env=environment, stdout=log, stderr=log
        )
    try:
        statuses = await _statuses(f"http://127.0.0.1:{port}")
        assert list(statuses.values()) == [401, 401]
        assert process.pid not in statuses
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
