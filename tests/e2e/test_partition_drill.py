"""A node whose clients can reach it no more: they go on with another one, and the books agree."""

import json
import subprocess
import sys

import pytest

from tests.harness.programs.hosts import why_no_hosts


def test_a_link_is_cut_and_healed() -> None:
    """On network namespaces, in a process of its own, which moves to one of them."""
    why_not = why_no_hosts()
    if why_not:
        pytest.skip(why_not)
    drill = [sys.executable, "-m", "tests.drills", "short-partition", "--requests", "120"]
    done = subprocess.run(drill, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["reconciled"]
    assert found["breaks"] > 0
