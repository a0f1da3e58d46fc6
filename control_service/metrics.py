"""The metrics of control: read off a replica's memory and its last survey of the database."""

from collections.abc import Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from control_service.assembly import Assembly
from control_service.domain.status import Status
from control_service.usecases.fleet.exchange_groups import ExchangeGroups
from control_service.usecases.survey_ports import Survey, SurveyPort
from control_service.usecases.upkeep.surveyor import Surveyor
from tallygate._server.clock import Clock
from tallygate._server.metrics.families import counter, gauge, seconds, sizes
from tallygate._server.metrics.histogram import SIZE_BOUNDS, Histogram

NS: Final = 1e9
US: Final = 1e6


class ControlMetrics:
    """Of one replica."""

    def __init__(self, assembly: Assembly, database: SurveyPort, clock: Clock) -> None:
        self._assembly = assembly
        self._surveyor = Surveyor(database, clock)
        self.survey = self._surveyor.run
        """Surveys the database until cancelled."""
        self._clock = clock

    async def read(self) -> Sequence[Metric]:
        """All of them, as they are now."""
        survey = self._surveyor.latest
        return [
            *_exchanges(self._assembly.exchanges),
            *self._fleet(),
            *self._surveyed(),
            *(_survey(survey) if survey is not None else ()),
        ]

    def _fleet(self) -> Sequence[Metric]:
        assembly, now_ns = self._assembly, self._clock.monotonic_ns()
        glance = assembly.pulse.latest
        version = glance.config_version if glance is not None else 0
        due_us = glance.first_due_us if glance is not None else None
        late_us = max(0, self._clock.now_us() - due_us) if due_us is not None else 0
        lag = assembly.acknowledgements.lag(version, now_ns)
        return (
            gauge("tallygate_control_nodes", "Metering nodes, by state.", assembly.liveness.states(), "state"),
            gauge("tallygate_control_streams", "Nodes that follow configurations here.", assembly.feed.stream_count),
            gauge("tallygate_control_config_version", "Version of the newest configuration.", version),
            gauge("tallygate_control_config_lag_versions", "Versions that the slowest node here lacks.", lag.versions),
            gauge("tallygate_control_config_lag_seconds", "Time since it acknowledged one.", lag.age_ns / NS),
            gauge("tallygate_control_sweep_lag_seconds", "Time for which something has been due.", late_us / US),
        )

    def _surveyed(self) -> Sequence[Metric]:
        age_ns = self._clock.monotonic_ns() - self._surveyor.surveyed_ns
        return (gauge("tallygate_control_survey_age_seconds", "Age of the figures of the database.", age_ns / NS),)


def _exchanges(groups: ExchangeGroups) -> Sequence[Metric]:
    group_sizes = Histogram(SIZE_BOUNDS)
    for size, count in groups.sizes.items():
        group_sizes.observe(size, count)
    return (
        sizes("tallygate_control_exchange_group_size", "Exchanges of leases in one transaction.", group_sizes),
        seconds("tallygate_control_exchange_group_duration_seconds", "Such transactions.", groups.durations),
        gauge("tallygate_control_exchanges_waiting", "Exchanges that wait for one.", groups.waiting_count),
        counter("tallygate_control_lease_statements", "Statements on leases in exchanges.", groups.statement_count),
    )


def _survey(survey: Survey) -> Sequence[Metric]:
    by_status = {status.name: survey.services.get(status.name, 0) for status in Status}
    money = {
        (currency, what): getattr(sums, f"{what}_nanos")
        for currency, sums in survey.money.items()
        for what in ("funds", "spent", "leased", "credit_limit")
    }
    return (
        gauge("tallygate_control_services", "Stored services that are not deleted.", by_status, "status"),
        gauge("tallygate_control_pots_low", "Pots with less than a tenth left.", survey.pots_low, "kind"),
        gauge("tallygate_control_accounts", "Accounts.", survey.account_count),
        gauge("tallygate_control_accounts_overdue", "Accounts that are overdue.", survey.accounts_overdue),
        gauge(
            "tallygate_control_accounts_at_threshold",
            "Accounts whose money stands at a threshold.",
            survey.accounts_at_threshold,
        ),
        gauge("tallygate_control_deliveries_waiting", "Alerts on their way to webhooks.", survey.deliveries_waiting),
        gauge("tallygate_control_money_nanos", "Sums over all accounts of a currency.", money, "currency", "of"),
    )
