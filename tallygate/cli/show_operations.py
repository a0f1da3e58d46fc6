"""Nodes, pots and leases as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from tallygate.cli.money import format_amount
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.control.v1 import lease_pb2, operations_service_pb2, pot_pb2
from tallygate.metering.v1 import node_traffic_pb2

_MONEY = (pot_pb2.POT_KIND_MONEY, pot_pb2.POT_KIND_BUDGET_MONEY)


def node_table(found: operations_service_pb2.ListNodesResponse) -> Table:
    """All nodes."""
    return table(
        ("node", "live", "epoch", "last heard", "leases hold until", "exchanges", "configuration"),
        (
            (
                one.node,
                "yes" if one.live else "no",
                str(one.epoch),
                time_text(one.last_heard_time),
                time_text(one.lease_valid_until_time) if one.HasField("lease_valid_until_time") else "",
                f"{one.exchange_number:,}",
                "acknowledged"
                if one.acknowledged_version >= found.config_version
                else f"{one.acknowledged_version:,} of {found.config_version:,}",
            )
            for one in found.nodes
        ),
    )


def traffic_table(nodes: Iterable[node_traffic_pb2.NodeTraffic]) -> Table:
    """What went through nodes since their epochs began, and what they have open now."""
    payers = ("reserved", "trial", "billed", "unfunded")
    return table(
        ("node", "for", "requests", *payers, "grants", "denied", "streams", "running", "waiting"),
        (
            (
                one.node,
                f"{one.running_for.seconds:,} s",
                f"{one.booked_request_count:,}",
                *(f"{getattr(one.payers, f'{payer}_tokens'):,}" for payer in payers),
                f"{one.grant_count:,}",
                ", ".join(f"{reason} {count:,}" for reason, count in sorted(one.denial_counts.items())),
                f"{one.open_stream_count:,}",
                f"{one.open_request_count:,}",
                f"{one.waiting_report_count:,}",
            )
            for one in nodes
        ),
    )


def pot_table(pots: Iterable[pot_pb2.Pot], currency: str) -> Table:
    """An account's pots; money in its currency, else tokens or requests."""
    return table(
        ("pot", "of", "capacity", "available", "leased", "of it held", "spent"),
        (
            (
                _kind(one.kind),
                one.inference_service or _limit(one.limit_pot) or one.account,
                *(
                    _units(one.kind, units, currency)
                    for units in (
                        one.capacity_units,
                        one.available_units,
                        one.leased_units,
                        one.held_units,
                        one.spent_units,
                    )
                ),
            )
            for one in pots
        ),
    )


def lease_table(leases: Iterable[lease_pb2.Lease]) -> Table:
    """Many leases, in units of their pots: nanos, tokens or requests."""
    return table(
        ("lease", "node", "epoch", "pot", "of", "granted", "consumed", "returned", "held", "closed", "last spoken of"),
        (
            (
                one.lease_id,
                one.node,
                str(one.epoch),
                _kind(one.pot_kind),
                one.inference_service or _limit(one.limit_pot),
                *(
                    f"{units:,}"
                    for units in (one.granted_units, one.consumed_units, one.returned_units, one.held_units)
                ),
                "yes" if one.closed else "no",
                time_text(one.update_time),
            )
            for one in leases
        ),
    )


def _kind(kind: pot_pb2.PotKind.ValueType) -> str:
    return pot_pb2.PotKind.Name(kind).removeprefix("POT_KIND_")


def _units(kind: pot_pb2.PotKind.ValueType, units: int, currency: str) -> str:
    return format_amount(units, currency) if kind in _MONEY else f"{units:,}"


def _limit(pot: pot_pb2.LimitPot) -> str:
    parts = [pot.limit_uid, pot.member_uid]
    if pot.HasField("period_start_time"):
        parts.append(f"from {time_text(pot.period_start_time)}")
    return " ".join(filter(None, parts))
