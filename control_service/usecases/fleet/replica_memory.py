"""What one process remembers of the fleet, besides the database. It starts anew with each, and nothing rests on it."""

from __future__ import annotations

from dataclasses import dataclass

from control_service.usecases.fleet.config_history import ConfigHistory
from control_service.usecases.fleet.elapsed_time import ElapsedTime
from control_service.usecases.fleet.node_liveness import NodeLiveness
from control_service.usecases.fleet.shortages import Shortages
from tallygate._server.clock import Clock


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """One for each process, shared by its use cases."""

    history: ConfigHistory
    shortages: Shortages
    elapsed_time: ElapsedTime
    liveness: NodeLiveness

    @staticmethod
    def empty(clock: Clock) -> ReplicaMemory:
        """Of a process that has just started."""
        return ReplicaMemory(ConfigHistory(), Shortages(clock), ElapsedTime(clock), NodeLiveness(clock))
