"""What goes wrong, and how it is healed. A new fault: a function here, a line in FAULTS; or a rate in RATES."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sized
from typing import TYPE_CHECKING, Any

from tests.simulation.chance import Chance
from tests.simulation.restores import restore

if TYPE_CHECKING:
    from tests.simulation.servers import InferenceServer
    from tests.simulation.simulation_harness import World

RATES = {
    "message lost": 0.01,
    "message duplicated": 0.02,
    "message delayed": 0.02,
    "commit fails": 0.01,
    "commit outcome unknown": 0.01,
    "commit slow": 0.005,
}
"""How often each of these strikes where it can; a seed makes each of them rare, usual or frequent."""

HOUR_US = 3_600_000_000
ALONE_MAX_S = 3.0


def rates(chance: Chance) -> dict[str, float]:
    """This seed's."""
    return {fault: rate * chance.pick((0.2, 1.0, 1.0, 4.0)) for fault, rate in RATES.items()}


async def strike(world: "World") -> None:
    """One after the other, and sometimes several at once, whether fair or in a storm."""
    running: set[asyncio.Task[None]] = set()
    try:
        async for fault in _storm(world) if world.storm else _fair(world):
            world.chance.note(fault)
            world.note(f"fault: {fault}")
            task = asyncio.create_task(FAULTS[fault](world))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for task in list(running):
            task.cancel()


async def _fair(world: "World") -> AsyncIterator[str]:
    """Each kind as often as any other, at the pace of this seed; in half of the seeds one of those that are long."""
    names = [name for name in FAULTS if name not in LONG]
    pace_s, long = world.chance.pick(PACES_S), world.chance.pick((*LONG, None, None))
    long_s = world.loop.now_s + world.chance.uniform(*LONG_AFTER_S)
    while True:
        await asyncio.sleep(world.chance.uniform(*pace_s))
        fault = world.chance.pick(names)
        if long is not None and world.loop.now_s >= long_s:
            fault, long = long, None
        if fault not in SPARES_NODES or not (world.is_cut_off or world.restoring):
            yield fault


async def _storm(world: "World") -> AsyncIterator[str]:
    """Without a break, mostly such as end nodes, and one that is long after the other: few requests begin."""
    first = deque(LONG)
    names = [name for name in FAULTS for _ in range(SHARES.get(name, 1))]
    while True:
        await asyncio.sleep(world.chance.uniform(0.1, 0.7))
        fault = world.chance.pick(names)
        if fault in LONG:
            if world.restoring or world.is_cut_off:
                continue
            fault = first.popleft() if first else world.chance.pick(LONG)
        if fault in SPARES_NODES and (world.is_cut_off or (world.restoring and not world.chance.once_in(60))):
            continue
        yield fault


RESTORED = "database restored"
"""Until people have recovered, nobody serves: so one at a time."""
CUT_OFF = "control isolated"
"""The same: and a node that has not had a lease since a recovery would not go on."""
LONG = (CUT_OFF, RESTORED)
"""In a storm first one and then the other, as either could take all the time; then whichever is drawn."""
LONG_AFTER_S = (5.0, 60.0)
PACES_S = ((0.8, 3.0), (1.5, 8.0), (1.5, 8.0), (3.0, 15.0))
"""Times between two faults, of which a seed has one pair."""
SPARES_NODES = frozenset(
    {"node crash", "node and server crash", "node leaves", "node paused", "database outage", "disk full"}
)
"""Faults that do not strike during those: a node that goes on without control has leases from before, and commits.

Until people have recovered these faults hardly ever strike, as each costs another resume window.
"""
SHARES = dict.fromkeys(SPARES_NODES, 12) | dict.fromkeys(LONG, 10)
"""Shares of a storm's draw: what must wait for others is drawn more often, so that each strikes some times a seed."""


def heal(world: "World") -> None:
    """Everything works again, and everybody is back but those who are gone for good."""
    world.network.cut.clear()
    for disk in (world.control_disk, world.metering_disk):
        disk.away = disk.full = False
    for name, replica in world.controls.items():
        if replica is None:
            world.start_control(name)
        else:
            world.loop.wake(replica.party)
    for name, node in world.nodes.items():
        if node is None:
            world.start_node(name)
        else:
            world.loop.wake(node.party)
    for server in world.servers:
        world.loop.wake(server.party)


def _away_s(world: "World", its: Sized, choices: tuple[float, ...]) -> float:
    """For how long one of them is not there. Where nobody else serves it is not long, but in a storm."""
    away_s = world.chance.pick(choices)
    return away_s if world.storm or len(its) > 1 else min(away_s, ALONE_MAX_S)


async def _crash_node(world: "World", name: str | None = None) -> None:
    name = name or world.chance.pick(list(world.nodes))
    node = world.nodes[name]
    if node is None:
        return
    node.crash()
    world.nodes[name] = None
    await asyncio.sleep(_away_s(world, world.nodes, (0.0, 0.5, 0.5, 3.0, 3.0, 20.0, 70.0)))
    if world.nodes[name] is None:
        world.start_node(name)


async def _leave_node(world: "World") -> None:
    node = world.nodes[world.chance.pick(list(world.nodes))]
    if node is not None:
        node.leave()


async def _crash_control(world: "World") -> None:
    name = world.chance.pick(list(world.controls))
    replica = world.controls[name]
    if replica is None:
        return
    replica.crash(world)
    world.controls[name] = None
    await asyncio.sleep(_away_s(world, world.controls, (0.0, 1.0, 1.0, 5.0, 30.0)))
    if world.controls[name] is None:
        world.start_control(name)


async def _crash_server(world: "World") -> None:
    """It never comes back: its requests are left to time out."""
    _end_server(world, world.chance.pick(world.alive_servers))


def _end_server(world: "World", server: "InferenceServer") -> None:
    """Another one takes its place, which knows nothing of its requests."""
    line = server.line
    world.loop.crash(server.party)
    if line is not None:
        line.call.break_off("the client is gone")
    world.start_server()


async def _pause_server(world: "World") -> None:
    """Its node hears nothing, and its keepalive ends the stream; then it goes on as if nothing had been."""
    server = world.chance.pick(world.alive_servers)
    line = server.line
    world.loop.pause(server.party)
    await asyncio.sleep(world.chance.pick((3.0, 35.0, 50.0)))
    if line is not None:
        line.call.break_off("keepalive timeout")
    world.loop.wake(server.party)


async def _crash_rack(world: "World") -> None:
    """A node and a server at once, and mostly while nothing can be written: what neither could say is gone."""
    world.metering_disk.full = world.chance.once_in(2)
    await asyncio.sleep(world.chance.uniform(0.0, 3.0))
    node = world.nodes[world.chance.pick(list(world.nodes))]
    served = [
        server
        for server in world.alive_servers
        if node is not None and server.line is not None and server.line.call.server is node.server
    ]
    if served:
        _end_server(world, world.chance.pick(served))
    await _crash_node(world, node.name if node is not None else None)
    world.metering_disk.full = False


async def _pause_node(world: "World") -> None:
    node = world.nodes[world.chance.pick(list(world.nodes))]
    if node is not None:
        world.loop.pause(node.party)
        await asyncio.sleep(_away_s(world, world.nodes, (0.5, 3.0, 25.0, 45.0)))
        world.loop.wake(node.party)


async def _pause_control(world: "World") -> None:
    replica = world.controls[world.chance.pick(list(world.controls))]
    if replica is not None:
        world.loop.pause(replica.party)
        await asyncio.sleep(_away_s(world, world.controls, (0.5, 3.0, 25.0)))
        world.loop.wake(replica.party)


async def _partition(world: "World") -> None:
    cut = frozenset((world.chance.pick(list(world.nodes)), world.chance.pick(list(world.controls))))
    world.network.cut.add(cut)
    for node in world.nodes.values():
        for replica in world.controls.values():
            if node is not None and replica is not None and not world.network.reaches(node.party, replica.party):
                for stream in list(replica.server.streams):
                    if stream.caller is node.party:
                        stream.break_off("the network is cut")
    await asyncio.sleep(_away_s(world, world.controls, (1.0, 1.0, 5.0, 10.0, 20.0, 60.0)))
    world.network.cut.discard(cut)


async def _isolate(world: "World") -> None:
    """A node that reaches no control at all."""
    name = world.chance.pick(list(world.nodes))
    await _cut_off(world, [name], _away_s(world, world.nodes, (2.0, 5.0, 30.0, 65.0)))


async def _isolate_all(world: "World") -> None:
    """No node reaches control, for longer than leases hold: what goes on then is what services are told to.

    With leases that it has by then: without any, nothing does.
    """
    world.is_cut_off = True
    try:
        while not world.may_go_on():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.5)
        await _cut_off(world, list(world.nodes), world.chance.pick((26.0, 34.0)))
    finally:
        world.is_cut_off = False


async def _cut_off(world: "World", names: list[str], seconds: float) -> None:
    cuts = {frozenset((name, control)) for name in names for control in world.controls}
    world.network.cut |= cuts
    for replica in world.controls.values():
        for stream in list(replica.server.streams) if replica is not None else ():
            if stream.caller.name.partition("#")[0] in names:
                stream.break_off("the network is cut")
    await asyncio.sleep(seconds)
    world.network.cut -= cuts


async def _break_streams(world: "World") -> None:
    for server in world.servers:
        if server.line is not None and world.chance.once_in(2):
            server.line.call.break_off("the network is bad")


async def _outage(world: "World") -> None:
    disk = world.chance.pick((world.control_disk, world.metering_disk))
    disk.away = True
    await asyncio.sleep(world.chance.pick((0.5, 2.0, 10.0)))
    disk.away = False


async def _disk_full(world: "World") -> None:
    disk = world.chance.pick((world.control_disk, world.metering_disk))
    disk.full = True
    await asyncio.sleep(world.chance.pick((0.5, 2.0, 10.0)))
    disk.full = False


async def _jump_clock(world: "World") -> None:
    processes = [process for process in (*world.controls.values(), *world.nodes.values()) if process is not None]
    if processes:
        world.chance.pick(processes).clock.offset_us += world.chance.pick((-1, 1)) * world.chance.pick(
            (HOUR_US, 5 * HOUR_US, 1_000_000)
        )


FAULTS: dict[str, Callable[["World"], Coroutine[Any, Any, None]]] = {
    "node crash": _crash_node,
    "node and server crash": _crash_rack,
    "node leaves": _leave_node,
    "node paused": _pause_node,
    "control crash": _crash_control,
    "control paused": _pause_control,
    "server crash": _crash_server,
    "server paused": _pause_server,
    "partition": _partition,
    "node isolated": _isolate,
    CUT_OFF: _isolate_all,
    "stream break": _break_streams,
    "database outage": _outage,
    "disk full": _disk_full,
    "clock jump": _jump_clock,
    RESTORED: restore,
}
