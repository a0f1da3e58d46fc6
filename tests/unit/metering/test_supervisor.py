"""Workers' lives, on simulated time: when one is started again, and when its supervisor gives up."""

import asyncio
from asyncio.subprocess import Process
from typing import NamedTuple, cast

import pytest
from structlog.testing import capture_logs

from metering_service.settings import addresses, common_options, common_variables, parse
from metering_service.supervisor import SERVED_WELL_S, Shared, Supervisor
from tallygate._server.errors import StartupError, SupersededError
from tallygate._server.grpc.tls import ServerTls
from tallygate._server.process.run import EXIT_STARTUP_ERROR, EXIT_SUPERSEDED
from tests.simulation.loop import SimulatedLoop


class Life(NamedTuple):
    """How long a worker serves, None for not at all, and how it ends."""

    served_s: float | None
    status: int


class Worker:
    """A process as its supervisor sees it."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.returncode: int | None = None
        self.stdout = self

    async def readline(self) -> bytes:
        return b"" if self._life.served_s is None else b"serving 127.0.0.1:1\n"

    async def wait(self) -> int:
        if self.returncode is None:
            await asyncio.sleep(self._life.served_s or 0.0)
            self.returncode = self._life.status
        return self.returncode


class Supervised(Supervisor):
    """One worker, whose lives are known beforehand."""

    def __init__(self, *lives: Life | OSError) -> None:
        super().__init__("127.0.0.1:0", "w", 1, [], {})
        self._lives = iter(lives)

    async def _start(self, shared: Shared, number: int) -> Process:
        life = next(self._lives)
        if isinstance(life, OSError):
            raise life
        return cast("Process", Worker(life))


def run(*lives: Life | OSError) -> None:
    """Until the supervisor gives up."""
    loop = SimulatedLoop()  # type: ignore[abstract]  # what asyncio does not use is left out
    loop.run_until_complete(Supervised(*lives).run(asyncio.Event()))


def pauses_s(*lives: Life | OSError) -> list[float]:
    """What is waited between these lives."""
    with capture_logs() as logs, pytest.raises(SupersededError):
        run(*lives, Life(1.0, EXIT_SUPERSEDED))
    return [line["again_in_s"] for line in logs if line["event"] == "worker_ended"]


def test_a_worker_that_keeps_ending_is_started_less_and_less_often() -> None:
    """That it served for a moment changes nothing, nor does a life in which it did not serve."""
    short, none = Life(SERVED_WELL_S - 1, 1), Life(None, EXIT_STARTUP_ERROR)
    assert pauses_s(short, short, none, short, none, short, short) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_worker_that_cannot_be_started_again_for_lack_of_memory_is_tried_again() -> None:
    """Its supervisor goes on, and says so; at the very beginning it ends instead."""
    short, failed = Life(1.0, 1), OSError(12, "Cannot allocate memory")
    assert pauses_s(short, failed, failed, short) == [0.2, 0.4, 0.8, 1.6]
    with pytest.raises(OSError, match="Cannot allocate memory"):
        run(failed)


def test_a_worker_that_served_well_is_started_again_soon() -> None:
    """Its troubles of before are forgotten."""
    assert pauses_s(Life(1.0, 1), Life(1.0, 1), Life(SERVED_WELL_S, 1), Life(1.0, 1)) == [0.2, 0.4, 0.2, 0.4]


@pytest.mark.parametrize("served_s", [None, 1.0, 3600.0])
def test_a_worker_whose_name_another_process_has_ends_all(served_s: float | None) -> None:
    """However long it served: started again it would supersede that one, and so on for ever."""
    with pytest.raises(SupersededError, match=r"^Another process runs as node w-1, .*--node-name"):
        run(Life(3600.0, -9), Life(served_s, EXIT_SUPERSEDED))


def test_a_worker_that_never_served_is_not_started_again() -> None:
    """It would end as it did."""
    with pytest.raises(StartupError, match=r"^Worker w-1 ended with status 2 before it served\.$"):
        run(Life(None, EXIT_STARTUP_ERROR))


def test_a_worker_is_one_node_whatever_the_environment_says() -> None:
    """What told its supervisor of several workers tells it, too; it must not become a supervisor itself."""
    environment = {"TALLYGATE_METERING_WORKERS": "2", "TALLYGATE_NODE_NAME": "w", "TALLYGATE_INSECURE": "1"}
    settings = parse(["--listen", "10.0.0.1:7402"], environment)
    supervisor = Supervisor(
        settings.listen, settings.node_name, settings.worker_count, common_options(settings), common_variables(settings)
    )
    worker = parse(supervisor.told(Shared("10.0.0.1:7402"), 2), environment)
    assert (worker.worker_count, worker.node_name, worker.listen) == (1, "w-2", "10.0.0.1:7404")


def test_workers_share_a_port_for_callers_with_certificates_and_have_one_each() -> None:
    """And the files, by whatever way their supervisor was told of them."""
    environment = {"TALLYGATE_TLS_CERT": "c", "TALLYGATE_TLS_KEY": "k", "TALLYGATE_CLIENT_CA": "a"}
    said = ["--listen", "10.0.0.1:7402", "--mtls-listen", "10.0.0.1:7422", "--workers", "3"]
    settings = parse(said, environment)
    supervisor = Supervisor(
        settings.listen, settings.node_name, settings.worker_count, common_options(settings), {}, mtls_listen=said[3]
    )
    worker = parse(supervisor.told(Shared("10.0.0.1:7402", "10.0.0.1:7422"), 2), {})
    assert worker.tls == ServerTls("c", "k", "a", "10.0.0.1:7424", "10.0.0.1:7422")
    assert addresses(settings) == [f"10.0.0.1:{port}" for port in (7402, 7422, 7403, 7404, 7405, 7423, 7424, 7425)]


def test_a_password_is_not_among_a_workers_options() -> None:
    """Everybody on a machine may read those."""
    settings = parse(["--database-url", "postgresql://me:secret@db/metering", "--workers", "2"], {})
    options, variables = common_options(settings), common_variables(settings)
    assert "secret" not in " ".join(options)
    assert parse(options, variables).database_url == settings.database_url
