"""A control service without a server in front of it: its use cases, servicers for nodes and operators, loops."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from control_service.api.fleet_servicer import FleetServicer
from control_service.api.operations_servicer import OperationsServicer
from control_service.api.recovery_servicer import RecoveryServicer
from control_service.domain.kept_days import USUAL, KeptDays
from control_service.usecases.access.proof_lookup import ProofLookup
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fleet.acknowledgements import Acknowledgements
from control_service.usecases.fleet.activation import Activation
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.exchange_groups import ExchangeGroups
from control_service.usecases.fleet.lease_exchange import ExchangeLeases
from control_service.usecases.fleet.node_liveness import NodeLiveness
from control_service.usecases.fleet.node_names import NodeNames
from control_service.usecases.fleet.node_registration import NodeRegistration
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.restore_recovery import RestoreRecovery
from control_service.usecases.idempotent_call import IdempotentCalls
from control_service.usecases.last_uses import LastUses
from control_service.usecases.ports import Database
from control_service.usecases.pulse import Pulse
from control_service.usecases.resolve_credential import NO_CREDENTIALS, Credentials
from control_service.usecases.upkeep.sweeper import Sweeper
from tallygate._server.clock import Clock
from tallygate._server.process.program_facts import ReadFacts


@dataclass(frozen=True, slots=True)
class Assembly:
    """One replica. Each of `background` runs until it is cancelled."""

    idempotent_calls: IdempotentCalls
    feed: ConfigFeed
    acknowledgements: Acknowledgements
    liveness: NodeLiveness
    fleet: FleetServicer
    exchanges: ExchangeGroups
    recovery: RecoveryServicer
    operations: OperationsServicer
    proofs: ProofLookup
    pulse: Pulse
    background: tuple[Callable[[], Coroutine[Any, Any, None]], ...]


def put_together(
    database: Database,
    clock: Clock,
    new_id: Callable[[], str],
    credentials: Credentials = NO_CREDENTIALS,
    kept: KeptDays = USUAL,
    *,
    diagnostics: ReadFacts | None = None,
) -> Assembly:
    """Puts a replica together on a database that is at its newest revision.

    `credentials`: what tokens and certificates are known by, besides the database. `kept`: what is kept for how
    many days. `diagnostics`: what the program says of itself, where it is one.
    """
    signal, memory = ChangeSignal(), ReplicaMemory.empty(clock)
    uses, pulse = LastUses(database, clock), Pulse(database, clock)
    feed = ConfigFeed(database, clock, signal, memory, credentials, pulse=pulse, on_use=uses.note)
    activation = Activation(database, clock, signal, memory.liveness)
    acknowledgements = Acknowledgements(database, clock, feed, activation)
    exchange = ExchangeLeases(database, clock, signal, memory)
    sweeper = Sweeper(database, clock, signal, memory.liveness, activation, pulse=pulse, kept=kept)
    return Assembly(
        IdempotentCalls(database, clock, new_id, signal),
        feed,
        acknowledgements,
        memory.liveness,
        FleetServicer(
            NodeRegistration(database, clock),
            feed,
            acknowledgements,
            exchange,
            names=NodeNames(memory.liveness),
            clock=clock,
        ),
        exchange.groups,
        RecoveryServicer(RestoreRecovery(database, clock, signal, memory, new_id)),
        OperationsServicer(database, clock, memory.liveness, diagnostics),
        ProofLookup(database, clock, credentials, uses, signal),
        pulse,
        (feed.run, acknowledgements.run, sweeper.run, exchange.groups.run, uses.run),
    )
