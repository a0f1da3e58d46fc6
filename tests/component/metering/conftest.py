"""One node, and a stream to it; a test file that needs another fleet makes its own."""

import pytest

from tests.harness.metering.node_harness import Client, Fleet


@pytest.fixture
def fleet() -> Fleet:
    """One node, and whatever the test puts into control."""
    return Fleet()


@pytest.fixture
def client(fleet: Fleet) -> Client:
    """A stream to its first node."""
    return Client(fleet["a"])
