"""Names of nodes and their epochs: who speaks for which, on a real server that knows its callers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_service.bootstrap import Access
from control_service.domain.node import EPOCH_STEP_MAX
from control_service.usecases.fleet.node_liveness import NodeLiveness
from tallygate._access.rights import ALL_RIGHTS, Right
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM
from tallygate._server.clock import ManualClock
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import operations_service_pb2 as operations
from tallygate.control.v1 import pot_pb2, recovery_service_pb2_grpc
from tallygate.control.v1 import recovery_service_pb2 as recovery
from tests.harness.wire.caller_channel import calling
from tests.harness.wire.control_failures import Failure, failure
from tests.harness.wire.control_fleet import DATABASE_ID, SERVICE, Control, WireNode, running_control, wire_node
from tests.harness.wire.known_callers import KnownCallers

RIGHTS = {
    "operator": ALL_RIGHTS.rights,
    "fleet": (Right(Role.NODE, PLATFORM),),
    "a": (Right(Role.NODE, PLATFORM, ("node-a",)),),
    "b": (Right(Role.NODE, PLATFORM, ("node-b", "spare-*")),),
}
MONEY = pot_pb2.POT_KIND_MONEY


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[tuple[Control, dict[str, Control]]]:
    """A control service, and stubs of each caller. By its clock no node falls behind, however slow the machine."""
    access = Access(authenticator=KnownCallers(RIGHTS))
    async with running_control(directory, ManualClock(), access, "operator") as control:
        await control.stock()
        await control.enable_postpaid()
        async with (
            calling(control.address, "fleet") as whole,
            calling(control.address, "a") as first,
            calling(control.address, "b") as second,
        ):
            yield (
                control,
                {
                    "fleet": Control(control.address, whole),
                    "a": Control(control.address, first),
                    "b": Control(control.address, second),
                },
            )


async def refused_hello(control: Control, name: str, epoch: int = 1, caretaker: str = "") -> Failure:
    """Why a hello is refused."""
    stream: Any = control.fleet.WatchConfig()
    hello = pb.NodeHello(node=name, epoch=epoch, metering_database_id=DATABASE_ID, caretaker=caretaker)
    await stream.write(pb.WatchConfigRequest(hello=hello))
    return await failure(stream.read())


async def epochs(control: Control) -> dict[str, int]:
    found = await control.operations.ListNodes(operations.ListNodesRequest())
    return {node.node: node.epoch for node in found.nodes}


def exchange(node: WireNode, name: str, epoch: int, *statements: pb.LeaseStatement) -> Any:
    node.exchange_number += 1
    return node.control.fleet.ExchangeLeases(
        pb.ExchangeLeasesRequest(
            node=name,
            epoch=epoch,
            exchange_number=node.exchange_number,
            acknowledged_version=node.version,
            statements=statements,
        )
    )


async def test_a_caller_speaks_for_its_own_nodes_alone(tmp_path: Path) -> None:
    """Another's name is denied, in hello and exchange, and the node that has it goes on."""
    async with fleet(tmp_path) as (control, by), wire_node(by["a"], "node-a") as node:
        for caretaker in ("", "node-b", "node-a"):
            denied = await refused_hello(by["b"], "node-a", 2, caretaker)
            assert (denied.code, denied.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NODE_NAME_DENIED")
            assert denied.metadata == {"node": "node-a"}
        assert await epochs(control) == {"node-a": 1}
        await node.subscribe(SERVICE)
        assert await node.exchange(node.state(SERVICE, MONEY, wanted_units=5))
        async with wire_node(by["b"], "spare-7") as spare:
            refused = await failure(exchange(spare, "node-a", 1))
            assert (refused.reason, refused.metadata) == ("NODE_NAME_DENIED", {"node": "node-a"})
            assert await spare.exchange() == []
        async with wire_node(by["fleet"], "node-c") as third:
            assert await third.exchange() == []


async def test_a_caretaker_closes_the_leases_of_a_lost_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While control reports that node lost it may say hello, also again once it is heard; it may want nothing."""
    lost = {"node-a"}
    monkeypatch.setattr(NodeLiveness, "is_silent", lambda _, name: name in lost)
    async with fleet(tmp_path) as (control, by):
        async with wire_node(by["a"], "node-a") as node:
            await node.subscribe(SERVICE)
            (granted,) = await node.exchange(node.state(SERVICE, MONEY, wanted_units=5))
            assert granted.granted_units >= 5
            last_word = node.state(SERVICE, MONEY, consumed_units=3, closing=True)
        for times in range(2):
            async with wire_node(by["b"], "node-a", 2, caretaker="node-b") as ward:
                lost.clear()
                ward.exchange_number = 10 * times
                greedy = pb.LeaseStatement()
                greedy.CopyFrom(last_word)
                greedy.lease_id, greedy.closing, greedy.wanted_units = "new", False, 1
                for wanted, needed in ((1, 0), (0, 1)):
                    greedy.wanted_units, greedy.needed_units = wanted, needed
                    assert (await failure(exchange(ward, "node-a", 2, greedy))).reason == "NODE_NAME_DENIED"
                (closed,) = (await exchange(ward, "node-a", 2, last_word)).answers
                assert closed.closed
        assert (await refused_hello(by["b"], "node-a", 3, "node-b")).reason == "NODE_NAME_DENIED"
        async with wire_node(by["a"], "node-a", 3), wire_node(by["b"], "node-b") as own:
            assert (await failure(exchange(own, "node-a", 2))).reason == "NODE_FENCED"
            assert (await failure(exchange(own, "node-a", 3))).reason == "NODE_NAME_DENIED"
        assert await epochs(control) == {"node-a": 3, "node-b": 1}


@pytest.mark.parametrize("above", [1, 2**62])
async def test_an_epoch_far_above_the_known_one_is_refused(tmp_path: Path, above: int) -> None:
    """Of a node that is known, and of one that is not; nothing is stored, and the node goes on."""
    async with fleet(tmp_path) as (control, by), wire_node(by["a"], "node-a", 7) as node:
        implausible = await refused_hello(by["a"], "node-a", 7 + EPOCH_STEP_MAX + above)
        assert (implausible.code, implausible.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EPOCH_IMPLAUSIBLE")
        assert implausible.metadata == {"node": "node-a", "known": "7"}
        unknown = await refused_hello(by["b"], "node-b", EPOCH_STEP_MAX + above)
        assert unknown.metadata == {"node": "node-b", "known": "0"}
        finish = recovery.FinishRecoveryRequest(
            nodes=[recovery.FencedNode(node="node-a", epoch=7 + EPOCH_STEP_MAX + above)]
        )
        stub = recovery_service_pb2_grpc.RecoveryServiceStub(control.channel)
        assert (await failure(stub.FinishRecovery(finish))).reason == "EPOCH_IMPLAUSIBLE"
        assert await epochs(control) == {"node-a": 7}
        assert await node.exchange() == []
        async with wire_node(by["a"], "node-a", 7 + EPOCH_STEP_MAX):
            assert await epochs(control) == {"node-a": 7 + EPOCH_STEP_MAX}


async def test_a_recovery_names_nodes_of_its_caller(tmp_path: Path) -> None:
    """A node's credential ends no other node."""
    async with fleet(tmp_path) as (control, by), wire_node(by["a"], "node-a"):
        stub = recovery_service_pb2_grpc.RecoveryServiceStub(by["b"].channel)
        node = recovery.FencedNode(node="node-a", epoch=5)
        total = recovery.LeaseTotal(
            lease_id="lease", node="node-a", epoch=1, inference_service=SERVICE, inference_service_uid="uid",
            pot_kind=MONEY, consumed_units=1,
        )  # fmt: skip
        for call in (
            stub.FinishRecovery(recovery.FinishRecoveryRequest(nodes=[node])),
            stub.BookLeases(recovery.BookLeasesRequest(leases=[total])),
        ):
            assert (await failure(call)).reason == "NODE_NAME_DENIED"
        assert await epochs(control) == {"node-a": 1}
        whole = recovery_service_pb2_grpc.RecoveryServiceStub(by["fleet"].channel)
        await whole.FinishRecovery(recovery.FinishRecoveryRequest(nodes=[node]))
        assert await epochs(control) == {"node-a": 5}
