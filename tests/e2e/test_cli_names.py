"""Misspelt names on the command line, against the real pair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.patience import turns
from tests.harness.programs.command import Up, up


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, with an account and a model."""
    with up(tmp_path_factory.mktemp("data")) as running:
        for command in ("account create spelt", "model create llama"):
            said = running.tallygate(*command.split())
            assert said.status == 0, said.err
        yield running


def test_a_misspelt_name_is_told_with_the_nearest(running: Up) -> None:
    """Of accounts, services and models; in usage, one that there is and that nobody used is told apart."""
    for command, near in (
        (("account", "show", "spellt"), "accounts/spelt"),
        (("service", "list", "spellt"), "accounts/spelt"),
        (("service", "show", "spelt/defualt-llama"), "accounts/spelt/services/default-llama"),
        (("service", "list", "spelt", "--model", "llamax"), "models/llama"),
        (("usage", "show", "spellt", "--metering", running.metering), "accounts/spelt"),
    ):
        # Names are only looked for as long as somebody likes to wait.
        for _ in turns():
            said = running.tallygate(*command)
            assert said.status == 1, said.err
            if f"is it {near}?" in said.err:
                break
    unused = running.tallygate("usage", "show", "spelt", "--metering", running.metering)
    assert (unused.status, "nothing was ever recorded of accounts/spelt" in unused.err) == (0, True), unused.err
    assert "is it" not in running.tallygate("account", "show", "nothing-like-that").err
