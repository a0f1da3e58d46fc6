"""The memory of one process about the fleet. It is empty in a new process, and no pot depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from control_service.usecases.fleet.config_history import ConfigHistory
from control_service.usecases.fleet.elapsed_time import ElapsedTime
from control_service.usecases.fleet.node_liveness import NodeLiveness
from control_service.usecases.fleet.shortages import Shortages
from tallygate._server.clock import Clock


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """History, shortages, elapsed time and liveness: one of each for a process, shared by its use cases."""

    history: ConfigHistory
    shortages: Shortages
    elapsed_time: ElapsedTime
    liveness: NodeLiveness

    @staticmethod
    def empty(clock: Clock) -> ReplicaMemory:
        """The memory of a process that has just started."""
        return ReplicaMemory(ConfigHistory(), Shortages(clock), ElapsedTime(clock), NodeLiveness(clock))
