"""The metrics of a node: read off its parts at the moment of a scrape, on the event loop."""

import asyncio
from collections.abc import Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from metering_service.api.meter_counts import MeterCounts
from metering_service.assembly import Assembly
from metering_service.lease_survey import NO_LEASES, LeaseSums, survey_leases
from metering_service.usecases.commits.commit_counts import CommitCounts
from metering_service.usecases.node import Node
from tallygate._server.metrics.families import counter, gauge, seconds, sizes

SURVEY_INTERVAL_S: Final = 10.0
"""Interval of surveys of leases, beside the time that one takes: no scrape waits for a walk over all of them."""
NS: Final = 1e9
US: Final = 1e6


class NodeMetrics:
    """Of one process: those of the epoch that runs, whose counters begin at zero; and its epochs."""

    def __init__(self) -> None:
        self._running: tuple[Assembly, MeterCounts] | None = None
        self._leases = NO_LEASES
        self.fenced_count = 0

    def begin(self, assembly: Assembly, counts: MeterCounts) -> None:
        """An epoch begins."""
        self._running = assembly, counts
        self._leases = NO_LEASES

    async def survey(self) -> None:
        """Surveys the leases of the epoch that runs until cancelled."""
        while True:
            running = self._running
            if running is not None:
                leases = await survey_leases(running[0].node.lease_index)
                # Meanwhile another epoch may have begun.
                if running is self._running:
                    self._leases = leases
            await asyncio.sleep(SURVEY_INTERVAL_S)

    async def read(self) -> Sequence[Metric]:
        """Those of the epoch that runs now; nothing of a node that has not begun one."""
        if self._running is None:
            return ()
        assembly, counts = self._running
        return [
            *self._epoch(assembly),
            *_decisions(counts, assembly.node),
            *_waiting(assembly.node),
            *_commits(assembly.committer.counts, assembly.node),
            *_control(assembly),
            *_leases(self._leases, assembly.node),
        ]

    def _epoch(self, assembly: Assembly) -> Sequence[Metric]:
        fenced = "Epochs of this process that another one has fenced."
        return (
            gauge("tallygate_node_epoch", "Epoch of the node that runs.", assembly.node.epoch),
            counter("tallygate_node_epochs_fenced", fenced, self.fenced_count),
        )


def _decisions(counts: MeterCounts, node: Node) -> Sequence[Metric]:
    verdicts = {("ALLOW", ""): counts.allowed} | {("DENY", reason): count for reason, count in counts.denied.items()}
    reports = {"report": counts.reports, "column": counts.entries}
    grants = {"false": counts.grants - counts.grants_final, "true": counts.grants_final}
    decided = "From when a message of a stream was read until it was decided on or parked."
    return (
        counter("tallygate_node_decisions", "Decisions that were said.", verdicts, "verdict", "reason"),
        seconds("tallygate_node_decision_duration_seconds", decided, counts.decision_durations),
        counter("tallygate_node_reports", "Reports: by name, or as entries of columns.", reports, "form"),
        counter("tallygate_node_receipts", "Receipts that were said.", counts.receipts),
        counter("tallygate_node_grants", "Grants, first ones and renewed ones.", grants, "final"),
        gauge("tallygate_node_streams", "Meter streams that are open.", len(counts.streams)),
        counter("tallygate_node_streams_begun", "Meter streams that were opened.", counts.streams_begun),
        gauge("tallygate_node_open_requests", "Requests that run.", node.checkpoints.running.count),
        gauge("tallygate_node_silent_requests", "Requests that no stream speaks of.", len(node.silent)),
        gauge("tallygate_node_services", "Services that the node knows of.", len(node.services)),
    )


def _waiting(node: Node) -> Sequence[Metric]:
    settings, room = node.settings, node.room
    backlog = {"bookings": node.buffer.backlog_count, "reports": room.count, "calls": node.calls_count}
    bounds = {"bookings": settings.backlog_max, "reports": settings.waiting_max, "calls": settings.unread_beyond}
    waited = "How long reports waited that were parked: for a lease, a configuration, or the database."
    return (
        gauge("tallygate_node_backlog", "What waits: bookings for a commit, reports for an answer.", backlog, "of"),
        gauge("tallygate_node_backlog_max", "Bound of each; beyond it nothing new may begin.", bounds, "of"),
        seconds("tallygate_node_wait_seconds", waited, room.waits),
        gauge("tallygate_node_full_accounts", "Accounts of which too much waits.", len(room.full_accounts)),
    )


def _commits(counts: CommitCounts, node: Node) -> Sequence[Metric]:
    age_us = max(0, node.clock.now_us() - node.buffer.fresh_through_us())
    return (
        seconds("tallygate_node_commit_duration_seconds", "Commits that succeeded.", counts.durations),
        sizes("tallygate_node_commit_size", "Records and pages in a commit.", counts.sizes),
        counter("tallygate_node_commit_retries", "Commits that failed, and were repeated.", counts.retries),
        gauge("tallygate_node_not_durable_age_seconds", "Age of the oldest booking not committed.", age_us / US),
        counter("tallygate_node_requests_booked", "Requests that were booked and committed.", counts.requests),
        counter("tallygate_node_tokens", "Tokens booked, by who pays.", counts.tokens, "payer"),
        counter("tallygate_node_tokens_by_kind", "Tokens booked, by kind.", counts.tokens_by_kind, "kind"),
        counter("tallygate_node_overrun_tokens", "Tokens booked beyond a grant.", counts.overrun_tokens),
        counter("tallygate_node_cost_nanos", "Cost booked, of all currencies together.", counts.cost_nanos),
        counter("tallygate_node_debt_nanos", "Cost beyond what accounts had, likewise.", counts.debt_nanos),
        counter("tallygate_node_authorisations_denied", "Authorisations denied, committed.", counts.denied, "reason"),
    )


def _control(assembly: Assembly) -> Sequence[Metric]:
    node, link = assembly.node, assembly.link
    valid_ns = max(0, node.leases_valid_until_ns - node.clock.monotonic_ns())
    return (
        gauge("tallygate_node_control_connected", "Whether control speaks on its stream.", int(link.is_connected)),
        gauge("tallygate_node_control_answers", "Whether the last exchange was answered.", int(node.control_answers)),
        gauge("tallygate_node_leases_valid_seconds", "Time for which leases hold without control.", valid_ns / NS),
        seconds("tallygate_node_exchange_duration_seconds", "Exchanges of leases answered.", link.exchange_durations),
        counter("tallygate_node_exchanges_failed", "Exchanges of leases not answered.", link.failed_exchanges),
    )


def _leases(leases: LeaseSums, node: Node) -> Sequence[Metric]:
    return (
        gauge("tallygate_node_leases", "Leases that are open.", leases.number, "kind"),
        gauge("tallygate_node_lease_held_units", "Units that open requests hold.", leases.held_units, "kind"),
        gauge("tallygate_node_lease_free_units", "Units free; less than zero is a debt.", leases.free_units, "kind"),
        counter("tallygate_node_lease_spent_units", "Units spent.", node.buffer.spent_units, "kind"),
    )
