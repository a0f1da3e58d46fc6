"""The audit log, of the platform and of an account: what was changed and refused, and who did it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import grpc
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import show
from tallygate.console.calls import CallError
from tallygate.console.forms import FieldError, time_of
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import audit_service_pb2 as pb
from tallygate.control.v1.audit_entry_pb2 import AuditOutcome
from tallygate.control.v1.audit_service_pb2_grpc import AuditServiceStub

PAGE_SIZE: Final = 50
"""Maximum number of entries on a page."""


async def show_all(visit: Visit) -> Response:
    """A page of all entries that the caller sees, the newest first; of one account, if one is named."""
    account = visit.query("account")
    return await _entries(visit, f"accounts/{account}" if account else "")


async def show_account(visit: Visit) -> Response:
    """A page of an account's entries, the newest first."""
    return await _entries(visit, visit.account)


async def _entries(visit: Visit, account: str) -> Response:
    values: dict[str, Any] = {"outcomes": show.enum_choices(AuditOutcome), "entries": (), "next_page": ""}
    outcome = AuditOutcome.DESCRIPTOR.values_by_name.get(f"AUDIT_OUTCOME_{visit.query('outcome')}")
    try:
        request = pb.ListAuditEntriesRequest(
            account=account,
            start_time=time_of("start_time", visit.query("start_time")),
            end_time=time_of("end_time", visit.query("end_time")),
            page_size=PAGE_SIZE,
            page_token=visit.query("page"),
            principal=visit.query("principal"),
            resource=visit.query("resource"),
            method=visit.query("method"),
        )
        if outcome is not None and outcome.number:
            request.outcome = AuditOutcome.Value(outcome.name)
        answer = await AuditServiceStub(visit.control).ListAuditEntries(request)
        values |= {"entries": answer.audit_entries, "next_page": answer.next_page_token}
    except FieldError as error:
        visit.refuse(error)
    except CallError as error:
        if error.code != grpc.StatusCode.INVALID_ARGUMENT:
            raise
        visit.refuse(error)
        visit.status = HTTPStatus.BAD_REQUEST
    return visit.page("audit.html", **values)


NAV: Final = (
    Entry("Audit log", "/accounts/{account}/audit", Permission.AUDIT_READ),
    Entry("Audit log of all", "/operations/audit", Permission.AUDIT_READ),
)
ROUTES: Final = (
    at("/accounts/{account}/audit", show_account),
    at("/operations/audit", show_all),
)
