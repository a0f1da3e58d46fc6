"""One transaction on the control database."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.storage import schema
from control_service.storage.access_tokens import AccessTokenRows
from control_service.storage.access_versions import AccessVersionRows
from control_service.storage.accounts import AccountRows
from control_service.storage.alerts import AlertRows
from control_service.storage.api_keys import ApiKeyRows
from control_service.storage.audit import AuditEntryRows
from control_service.storage.batch_rows import BatchRows
from control_service.storage.bindings import BindingRows
from control_service.storage.budgets import BudgetRows
from control_service.storage.configs import ConfigRows
from control_service.storage.deliveries import DeliveryRows
from control_service.storage.history import EventRows, StoredResponseRows
from control_service.storage.leases import LeaseRows
from control_service.storage.ledger import LedgerRows
from control_service.storage.limit_pots import LimitPotRows
from control_service.storage.limits import LimitRows
from control_service.storage.models import ModelRows
from control_service.storage.nodes import NodeRows
from control_service.storage.page_keys import PageKeyRows
from control_service.storage.principals import PrincipalRows
from control_service.storage.rate_rules import RateRuleRows
from control_service.storage.reservations import BucketRows, ReservationRows
from control_service.storage.rule_pots import RulePotRows
from control_service.storage.service_accounts import ServiceAccountRows
from control_service.storage.services import ServiceRows
from control_service.storage.teams import TeamRows
from control_service.storage.webhooks import WebhookRows
from control_service.usecases import access_ports, alert_ports, audit_ports, fleet_ports, key_ports, limit_ports, ports


class SqlTransaction(ports.Transaction):
    """One transaction on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._new_version: int | None = None
        self.accounts: ports.Accounts = AccountRows(connection)
        self.ledger: ports.Ledger = LedgerRows(connection)
        self.models: ports.Models = ModelRows(connection)
        self.teams: ports.Teams = TeamRows(connection)
        self.services: ports.Services = ServiceRows(connection)
        self.reservations: ports.Reservations = ReservationRows(connection)
        self.buckets: ports.Buckets = BucketRows(connection)
        self.events: ports.Events = EventRows(connection)
        self.page_keys: ports.PageKeyStore = PageKeyRows(connection)
        self.responses: ports.StoredResponses = StoredResponseRows(connection)
        self.audit: audit_ports.AuditEntries = AuditEntryRows(connection)
        self.alerts: alert_ports.Alerts = AlertRows(connection)
        self.webhooks: alert_ports.Webhooks = WebhookRows(connection)
        self.deliveries: alert_ports.Deliveries = DeliveryRows(connection)
        self.nodes: fleet_ports.Nodes = NodeRows(connection)
        self.leases: fleet_ports.Leases = LeaseRows(connection)
        self.limit_pots: fleet_ports.LimitPots = LimitPotRows(connection)
        self.batches: fleet_ports.Batches = BatchRows(connection)
        self.configs: fleet_ports.Configs = ConfigRows(connection)
        self.principals: access_ports.Principals = PrincipalRows(connection)
        self.service_accounts: access_ports.ServiceAccounts = ServiceAccountRows(connection)
        self.access_tokens: access_ports.AccessTokens = AccessTokenRows(connection)
        self.bindings: access_ports.Bindings = BindingRows(connection)
        self.api_keys: key_ports.ApiKeys = ApiKeyRows(connection)
        self.access_versions: access_ports.AccessVersions = AccessVersionRows(connection)
        self.rate_rules: limit_ports.RateRules = RateRuleRows(connection)
        self.budgets: limit_ports.Budgets = BudgetRows(connection)
        self.limits: limit_ports.Limits = LimitRows(connection)
        self.rule_pots: limit_ports.RulePots = RulePotRows(connection)

    @override
    async def lock_globals(self) -> None:
        await self._connection.execute(select(schema.meta.c.id).with_for_update())

    @override
    async def next_config_version(self) -> int:
        if self._new_version is None:
            version = schema.meta.c.config_version
            raised = update(schema.meta).values(config_version=version + 1).returning(version)
            self._new_version = int((await self._connection.execute(raised)).scalar_one())
        return self._new_version

    @override
    async def config_version(self) -> int:
        return int((await self._connection.execute(select(schema.meta.c.config_version))).scalar_one())
