"""Nodes, leases and configurations by dictionaries; see `control_service.usecases.fleet_ports`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from control_service.domain.lease import Lease
from control_service.domain.node import LEASE_VALIDITY_US, Node
from control_service.domain.pot import PotKey
from control_service.usecases.fleet_ports import Changes, Due, NamedLease, Recall, Renewal, Subjects
from tallygate.whatif.memory.accounts import active_of
from tallygate.whatif.memory.tables import Tables


class NodeTable:
    """Nodes by name."""

    def __init__(self, tables: Tables) -> None:
        self._tables, self._nodes = tables, tables.nodes

    async def lock_all(self, names: Collection[str]) -> dict[str, Node]:
        return {name: self._nodes[name] for name in names if name in self._nodes}

    async def lock(self, name: str) -> Node | None:
        return self._nodes.get(name)

    async def save(self, node: Node) -> None:
        self._nodes[node.name] = node

    async def every(self) -> list[Node]:
        return list(self._nodes.values())

    async def renew(self, renewals: Collection[Renewal], expected_version: int, now_us: int) -> frozenset[str]:
        taken = [one for one in renewals if _follows(one, self._nodes.get(one.node), expected_version)]
        for one in taken:
            node = self._nodes[one.node]
            self._nodes[one.node] = replace(
                node,
                exchange_number=one.exchange_number,
                commit_no=one.commit_no,
                heard_count=node.heard_count + 1,
                last_heard_us=now_us,
                lease_valid_until_us=now_us + LEASE_VALIDITY_US,
            )
        return frozenset(one.node for one in taken)

    async def acknowledge(self, acknowledged: Mapping[tuple[str, int], int], now_us: int) -> frozenset[tuple[str, int]]:
        heard = [node for node in self._nodes.values() if (node.name, node.epoch) in acknowledged]
        for node in heard:
            self._nodes[node.name] = replace(
                node,
                acknowledged_version=max(node.acknowledged_version, acknowledged[node.name, node.epoch]),
                heard_count=node.heard_count + 1,
                last_heard_us=now_us,
            )
        return frozenset((node.name, node.epoch) for node in heard)

    async def remember_database(self, database_id: str) -> str:
        self._tables.metering_database = self._tables.metering_database or database_id
        return self._tables.metering_database


def _follows(one: Renewal, node: Node | None, expected_version: int) -> bool:
    return (
        node is not None
        and node.epoch == one.epoch
        and one.answered_number <= node.exchange_number < one.exchange_number
        and node.commit_no <= one.commit_no
        and max(node.acknowledged_version, one.acknowledged_version) >= expected_version
    )


class LeaseTable:
    """Leases by account and id; those that are open once more."""

    def __init__(self, tables: Tables) -> None:
        self._leases, self._open = tables.leases, tables.open_leases

    async def find(self, keys: Collection[tuple[str, str]]) -> list[Lease]:
        return [self._leases[key] for key in keys if key in self._leases]

    async def with_free_units(self, pots: Collection[PotKey]) -> list[Lease]:
        found = [lease for lease in self._open.values() if lease.free_units > 0 and lease.pot in pots]
        return sorted(found, key=lambda lease: lease.lease_id)

    async def put(self, leases: Collection[NamedLease]) -> None:
        await self.save_counters([named.lease for named in leases])

    async def save_counters(self, leases: Collection[Lease]) -> None:
        for lease in leases:
            key = lease.account, lease.lease_id
            self._leases[key] = self._open[key] = lease
            if lease.closed:
                del self._open[key]

    async def recall(self, keys: Collection[tuple[str, str]], now_us: int) -> None:
        await self.save_counters([replace(self._leases[key], recall_requested_us=now_us) for key in keys])

    async def recalled(self, nodes: Collection[str]) -> list[Recall]:
        return [
            Recall(lease.node, lease.lease_id, lease.recall_requested_us)
            for lease in self._open.values()
            if lease.recall_requested_us is not None and lease.node in nodes
        ]

    async def open_on(self, nodes: Collection[str]) -> list[str]:
        return list(dict.fromkeys(lease.node for lease in self._open.values() if lease.node in nodes))

    async def left_behind(self, *_: object) -> list[Lease]:
        return []

    async def delete_settled(self, *_: object) -> int:
        return 0


class ConfigTable:
    """What configurations are made of, and what is due."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def changes(self, since_version: int) -> Changes:
        services, models = self._tables.services, self._tables.models
        return Changes(
            services=frozenset(key for key, one in services.items() if one.config_version > since_version),
            model_ids=frozenset(key for key, one in models.items() if one.config_version > since_version),
        )

    async def subjects(self, keys: Collection[tuple[str, str]], now_us: int) -> Subjects:
        tables = self._tables
        services = {key: tables.services[key] for key in keys if key in tables.services}
        bought = {key: active_of(tables.reservations, key, now_us) for key in services}
        prices = sorted(tables.prices, key=lambda price: (price.effective_us, price.version))
        return Subjects(
            accounts={
                account_id: tables.accounts[account_id] for account_id, _ in keys if account_id in tables.accounts
            },
            services=services,
            reservations={services[key].uid: active for key, active in bought.items() if active},
            models={service.model_id: tables.models[service.model_id] for service in services.values()},
            prices={price.model_id: price for price in prices if price.effective_us <= now_us},
        )

    async def awaiting_fleet(self, version: int) -> list[tuple[str, str]]:
        return [key for key, since in in_activation(self._tables) if since <= version]

    async def reschedule_missed(self, *_: object) -> int:
        """The clock of a what-if was never ahead."""
        return 0

    async def due(self, now_us: int, limit: int) -> Due:
        services, models = self._tables.services.items(), self._tables.models.items()
        due = sorted((one.next_due_us, key) for key, one in services if _is_due(one.next_due_us, now_us))
        of_models = sorted((one.next_due_us, key) for key, one in models if _is_due(one.next_due_us, now_us))
        return Due([key for _, key in due[:limit]], [key for _, key in of_models[:limit]], [])


def in_activation(tables: Tables) -> Iterator[tuple[tuple[str, str], int]]:
    """The services that nodes do not all know of yet, each with the version that first started it."""
    for key, one in sorted(tables.services.items()):
        if not one.fleet_told and one.activation_version is not None:
            yield key, one.activation_version


def _is_due(moment_us: int | None, now_us: int) -> bool:
    return moment_us is not None and moment_us <= now_us
