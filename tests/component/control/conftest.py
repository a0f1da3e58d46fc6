"""Issuers for tests of this folder."""

import pytest

from tallygate._server.clock import ManualClock
from tests.harness.control.oidc_harness import FakeIssuer


@pytest.fixture
def issuer() -> FakeIssuer:
    """An issuer in memory."""
    return FakeIssuer(ManualClock())
