"""The contract's guards do bite: a broken contract and an edited stub are found, and named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELEASED = Path(__file__).with_name("released_contract.binpb")
BUF = Path(sys.executable).with_name("buf")
ANNOTATIONS = Path(".venv/protos")
TOKEN_USAGE = Path("protos/tallygate/metering/v1/token_usage.proto")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The contract and its stubs, free to be broken."""
    for protos in ("protos", "protos_of_others"):
        shutil.copytree(ROOT / protos, tmp_path / protos)
    shutil.copytree(ROOT / "tallygate", tmp_path / "tallygate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ANNOTATIONS, tmp_path / ANNOTATIONS)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def buf_breaking(root: Path) -> subprocess.CompletedProcess[str]:
    return run(BUF, "breaking", "protos", "--against", RELEASED, cwd=root)


def check_stubs(root: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, ROOT / "scripts" / "stubs.py", "--check", "--root", root, cwd=root)


def test_the_contract_keeps_what_was_released(copy: Path) -> None:
    """Whoever generated code from the released protos can still talk to today's servers."""
    outcome = buf_breaking(copy)
    assert outcome.returncode == 0, outcome.stdout


def test_a_renumbered_field_is_a_break_that_is_named(copy: Path) -> None:
    """Moving a field to another number fails the check, which says which field."""
    replace(copy / TOKEN_USAGE, "int64 output_tokens = 4 ", "int64 output_tokens = 14 ")
    outcome = buf_breaking(copy)
    assert outcome.returncode != 0
    assert '"output_tokens"' in outcome.stdout


def test_an_edited_stub_is_found(copy: Path) -> None:
    """A stub that was edited, left over or lost is named, together with the remedy."""
    stubs = copy / "tallygate/metering/v1"
    replace(stubs / "token_usage_pb2.pyi", "class TokenUsage(", "class TokensUsed(")
    shutil.copy(stubs / "token_usage_pb2.py", stubs / "left_over_pb2.py")
    (stubs / "usage_service_pb2_grpc.py").unlink()
    outcome = check_stubs(copy)
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines() == [
        "tallygate/metering/v1/usage_service_pb2_grpc.py is missing.",
        "tallygate/metering/v1/left_over_pb2.py belongs to no proto.",
        "tallygate/metering/v1/token_usage_pb2.pyi is not what its proto generates.",
        "The stubs do not match the protos; run `make stubs` and commit the result.",
    ]
