"""A fenced node that waits for its database to say what became of it."""

import asyncio
from functools import partial

import pytest

from metering_service import bootstrap
from metering_service.domain.errors import StorageUnavailableError
from tallygate._server.errors import SupersededError


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again without a rest."""
    monkeypatch.setattr(bootstrap, "AGAIN_S", 0)


class Verdicts:
    """Answers of a database that is away at first."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)

    async def ask(self) -> None:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer


AWAY = StorageUnavailableError("The metering database does not answer.")


async def test_it_asks_until_the_database_answers() -> None:
    """Then it is told what became of it: it may come back, or another process runs as this node."""
    away = Verdicts(AWAY, AWAY, None)
    await bootstrap.once_stored(away.ask, asyncio.Event())
    assert not away.answers
    with pytest.raises(SupersededError):
        await bootstrap.once_stored(Verdicts(AWAY, SupersededError("Another one runs.")).ask, asyncio.Event())


async def test_it_ends_when_it_is_told_to_stop() -> None:
    """It does not wait for a database that never answers."""
    stop = asyncio.Event()

    async def ask(times: list[int]) -> None:
        times[0] += 1
        if times[0] == 3:
            stop.set()
        raise AWAY

    times = [0]
    await bootstrap.once_stored(partial(ask, times), stop)
    assert times == [3]
