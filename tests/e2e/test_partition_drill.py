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
    # Not by `run`, which kills it at ctrl-C, so that its hosts and its database would be left behind.
    with subprocess.Popen(drill, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as drilled:
        out, said = drilled.communicate()
    assert drilled.returncode == 0, out + said
    found = json.loads(out)
    assert found["reconciled"]
    assert found["breaks"] > 0
