"""Actions of the caller: those that are possible and that the contract's rules let the caller do."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from control_service.domain.service_action import OfferedService, ServiceAction
from tallygate._access.rights import Rights
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.grpc.access_rules import MethodRule, rule_of
from tallygate._server.grpc.caller import current_caller
from tallygate.control.v1 import account_service_pb2, catalog_service_pb2, lifecycle_service_pb2

_ACCOUNT: Final = account_service_pb2.DESCRIPTOR.services_by_name["AccountService"].full_name
_CATALOG: Final = catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name
_LIFECYCLE: Final = lifecycle_service_pb2.DESCRIPTOR.services_by_name["LifecycleService"].full_name
_RPCS: Final[Mapping[ServiceAction, tuple[str, str]]] = {
    ServiceAction.CLAIM_FREE_TRIAL: (_LIFECYCLE, "ClaimFreeTrial"),
    ServiceAction.ENABLE_POSTPAID: (_LIFECYCLE, "EnablePostpaid"),
    ServiceAction.DISABLE_POSTPAID: (_LIFECYCLE, "DisablePostpaid"),
    ServiceAction.PURCHASE_RESERVATION: (_LIFECYCLE, "PurchaseReservation"),
    ServiceAction.CANCEL_RESERVATION: (_LIFECYCLE, "CancelReservation"),
    ServiceAction.SUSPEND: (_LIFECYCLE, "SuspendInferenceService"),
    ServiceAction.RESUME: (_LIFECYCLE, "ResumeInferenceService"),
    ServiceAction.UPDATE: (_LIFECYCLE, "UpdateInferenceService"),
    ServiceAction.DELETE: (_LIFECYCLE, "DeleteInferenceService"),
    ServiceAction.TOP_UP_ACCOUNT: (_ACCOUNT, "TopUpAccount"),
    ServiceAction.PUBLISH_PRICE: (_CATALOG, "PublishPrice"),
    ServiceAction.RESTORE_MODEL: (_CATALOG, "RestoreModel"),
    ServiceAction.REOPEN_ACCOUNT: (_ACCOUNT, "ReopenAccount"),
}
"""The RPC that does each action."""


def actions_of_caller(offered: OfferedService) -> list[ServiceAction]:
    """Those of the possible actions that whoever makes the call that this task serves may do."""
    service, rights = offered.view.service, current_caller().rights
    scope = Scope(service.account_id, service.team)
    return [action for action in offered.possible_actions if _may(action, rights, scope)]


def _may(action: ServiceAction, rights: Rights, scope: Scope) -> bool:
    rule = _rule(action)
    assert rule.permission is not None
    return rights.allows(rule.permission, scope if rule.scope_path else PLATFORM)


@cache
def _rule(action: ServiceAction) -> MethodRule:
    service, method = _RPCS[action]
    rule = rule_of(service, method)
    assert rule is not None
    return rule
