"""Actions of the caller: those that are possible and that the contract's rules let the caller do."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from control_service.domain.service import Service
from control_service.domain.service_action import OfferedService, ServiceAction
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.grpc.access_rules import MethodRule, rule_of
from tallygate._server.grpc.caller import current_caller

_RPCS: Final[Mapping[ServiceAction, tuple[str, str]]] = {
    ServiceAction.CLAIM_FREE_TRIAL: ("LifecycleService", "ClaimFreeTrial"),
    ServiceAction.ENABLE_POSTPAID: ("LifecycleService", "EnablePostpaid"),
    ServiceAction.DISABLE_POSTPAID: ("LifecycleService", "DisablePostpaid"),
    ServiceAction.PURCHASE_RESERVATION: ("LifecycleService", "PurchaseReservation"),
    ServiceAction.CANCEL_RESERVATION: ("LifecycleService", "CancelReservation"),
    ServiceAction.SUSPEND: ("LifecycleService", "SuspendInferenceService"),
    ServiceAction.RESUME: ("LifecycleService", "ResumeInferenceService"),
    ServiceAction.UPDATE: ("LifecycleService", "UpdateInferenceService"),
    ServiceAction.DELETE: ("LifecycleService", "DeleteInferenceService"),
    ServiceAction.TOP_UP_ACCOUNT: ("AccountService", "TopUpAccount"),
    ServiceAction.PUBLISH_PRICE: ("CatalogService", "PublishPrice"),
    ServiceAction.RESTORE_MODEL: ("CatalogService", "RestoreModel"),
    ServiceAction.REOPEN_ACCOUNT: ("AccountService", "ReopenAccount"),
}
"""The RPC that does each action."""


def actions_of_caller(offered: OfferedService) -> list[ServiceAction]:
    """Those of the possible actions that whoever makes the call that this task serves may do."""
    return [action for action in offered.possible_actions if _may(action, offered.view.service)]


def _may(action: ServiceAction, service: Service) -> bool:
    rule = _rule(action)
    assert rule.permission is not None
    scope = Scope(service.account_id, service.team) if rule.scope_path else PLATFORM
    return current_caller().rights.allows(rule.permission, scope)


@cache
def _rule(action: ServiceAction) -> MethodRule:
    service, method = _RPCS[action]
    rule = rule_of(f"tallygate.control.v1.{service}", method)
    assert rule is not None
    return rule
