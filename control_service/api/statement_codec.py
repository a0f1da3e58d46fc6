"""Statements on the wire."""

import re
from typing import Final

from control_service.api.fields import Fields
from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.names import account_name, model_name, service_name
from control_service.domain.statement import (
    Statement,
    StatementGrouping,
    StatementLine,
    StatementQuery,
    StatementScope,
)
from control_service.domain.time_zone import UTC
from tallygate._access.permission import Permission
from tallygate._access.rights import Rights
from tallygate._access.scope import Scope
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import account_service_pb2, ledger_pb2, statement_pb2

_MONTH: Final = re.compile("(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])")


def decode_statement_query(request: account_service_pb2.GetStatementRequest, rights: Rights) -> StatementQuery:
    """The statement that is asked for, narrowed to what the caller sees. Raises InvalidRequestError."""
    with Fields() as fields:
        account_id = fields.account("account", request.account)
        grouping = fields.member("grouping", statement_pb2.StatementGrouping, request.grouping, StatementGrouping)
        zone = fields.text("time_zone", request.time_zone)
        month = _MONTH.fullmatch(request.month)
        if request.month and month is None:
            fields.refuse("month", "must be a month, such as 2026-10")
    return StatementQuery(
        account_id=account_id,
        month=None if month is None else (int(month[1]), int(month[2])),
        time_zone=zone or UTC,
        grouping=grouping or StatementGrouping.SERVICE,
        scope=StatementScope(
            whole=rights.allows(Permission.ACCOUNTS_READ, Scope(account_id)),
            team_ids=rights.sight(Permission.USAGE_READ).teams_of(account_id),
        ),
    )


def encode_statement(statement: Statement) -> statement_pb2.Statement:
    """A month's statement."""
    account_id = statement.account.account_id
    return statement_pb2.Statement(
        account=account_name(account_id),
        month=statement.month,
        time_zone=statement.time_zone,
        start_time=encode_timestamp(statement.period.start_us),
        end_time=encode_timestamp(statement.period.end_us),
        as_of_time=encode_timestamp(statement.as_of_us),
        currency_code=statement.account.currency_code,
        opening_balance_nanos=statement.opening_nanos,
        top_up_nanos=statement.top_up_nanos,
        credit_nanos=statement.credit_nanos,
        debit_nanos=statement.debit_nanos,
        reservation_nanos=statement.total_nanos(LedgerEntryKind.RESERVATION),
        usage_nanos=statement.total_nanos(LedgerEntryKind.USAGE),
        closing_balance_nanos=statement.closing_nanos,
        lines=[_encode_line(account_id, line) for line in statement.lines_of_services],
    )


def _encode_line(account_id: str, line: StatementLine) -> statement_pb2.StatementLine:
    return statement_pb2.StatementLine(
        kind=encode_enum(ledger_pb2.LedgerEntryKind, line.kind),
        amount_nanos=line.amount_nanos,
        entry_count=line.entry_count,
        inference_service=service_name(account_id, line.service_id) if line.service_id else "",
        inference_service_uid=line.service_uid,
        model=model_name(line.model_id) if line.model_id else "",
        team=line.team,
    )
