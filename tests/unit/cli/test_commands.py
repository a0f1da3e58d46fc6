"""Everything that the contract can do can be done from a terminal."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path

import pytest

import tallygate.cli
import tallygate.control.v1
import tallygate.metering.v1

OF_PROGRAMS = {
    "FleetService.WatchConfig": "nodes follow the configuration by it",
    "FleetService.ExchangeLeases": "nodes lease by it",
    "MeteringService.Meter": "inference servers report by it; `tallygate replay` does",
    "MeteringService.Authorize": "likewise",
    "MeteringService.Report": "likewise",
}
"""RPCs that no person calls, and why."""


@cache
def _called() -> set[str]:
    """Names of attributes that the command line's modules read: an RPC is called by its name."""
    trees = [ast.parse(path.read_text()) for path in Path(tallygate.cli.__path__[0]).glob("*.py")]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def _rpcs() -> list[str]:
    found = []
    for package in (tallygate.control.v1, tallygate.metering.v1):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.endswith("_service_pb2"):
                file = importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
                for service in file.services_by_name.values():
                    found += [f"{service.name}.{method.name}" for method in service.methods]
    return found


@pytest.mark.parametrize("rpc", sorted(set(_rpcs()) - set(OF_PROGRAMS)))
def test_every_rpc_has_a_command(rpc: str) -> None:
    """What only grpcurl can do is not there for most people."""
    assert rpc.partition(".")[2] in _called()


def test_there_are_rpcs_to_look_for() -> None:
    """The list that the test above goes by is not empty, and its exceptions exist."""
    assert set(OF_PROGRAMS) < set(_rpcs())
