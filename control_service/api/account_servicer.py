"""AccountService."""

from typing_extensions import override

from control_service.api import account_codec as codec
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import INT64_MAX, Fields
from control_service.api.paging import decode_page
from control_service.api.statement_codec import decode_statement_query, encode_statement
from control_service.usecases.people.accounts import create_account, forecast, update_account
from control_service.usecases.people.closing import set_closed
from control_service.usecases.people.payments import pay
from control_service.usecases.people.services import find_service
from control_service.usecases.people.statements import statement_of
from control_service.usecases.ports import Database
from tallygate._access.permission import Permission
from tallygate._server.clock import Clock
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import account_service_pb2 as pb
from tallygate.control.v1 import account_service_pb2_grpc


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """Accounts and their money."""

    def __init__(self, database: Database, clock: Clock, calls: Calls) -> None:
        self._database = database
        self._clock = clock
        self._calls = calls

    @override
    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Context) -> pb.CreateAccountResponse:
        new = codec.decode_create(request)
        response = await self._calls.of_globals(
            Incoming(request, context), lambda tx, act: create_account(tx, new, act), codec.encode_created
        )
        return pb.CreateAccountResponse.FromString(response)

    @override
    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> pb.GetAccountResponse:
        with Fields() as fields:
            account_id = fields.account("name", request.name)
        async with self._database.reading() as tx:
            account = await tx.accounts.get(account_id)
        return pb.GetAccountResponse(account=codec.encode_account(account))

    @override
    async def ForecastAccount(self, request: pb.ForecastAccountRequest, context: Context) -> pb.ForecastAccountResponse:
        with Fields() as fields:
            account_id = fields.account("name", request.name)
        async with self._database.reading() as tx:
            account, pace = await forecast(tx, account_id, self._clock.now_us())
        return codec.encode_forecast(account, pace)

    @override
    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:
        with Fields() as fields:
            (after,), limit = decode_page(fields, request, ("",))
        sight = current_caller().rights.sight(Permission.ACCOUNTS_READ)
        async with self._database.reading() as tx:
            accounts = await tx.accounts.page(after, limit + 1, sight)
        page, token = encode_page(request, accounts, limit, codec.encode_account, lambda account: (account.account_id,))
        return pb.ListAccountsResponse(accounts=page, next_page_token=token)

    @override
    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: Context) -> pb.UpdateAccountResponse:
        account_id, update = codec.decode_update(request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: update_account(tx, account, update, act),
            codec.encode_updated,
        )
        return pb.UpdateAccountResponse.FromString(response)

    @override
    async def TopUpAccount(self, request: pb.TopUpAccountRequest, context: Context) -> pb.TopUpAccountResponse:
        account_id, line = codec.decode_top_up(request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: pay(tx, account, line, act),
            codec.encode_topped_up,
        )
        return pb.TopUpAccountResponse.FromString(response)

    @override
    async def AdjustAccount(self, request: pb.AdjustAccountRequest, context: Context) -> pb.AdjustAccountResponse:
        account_id, line = codec.decode_adjust(request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: pay(tx, account, line, act),
            codec.encode_adjusted,
        )
        return pb.AdjustAccountResponse.FromString(response)

    @override
    async def CloseAccount(self, request: pb.CloseAccountRequest, context: Context) -> pb.CloseAccountResponse:
        with Fields() as fields:
            account_id = fields.account("name", request.name)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: set_closed(tx, account, act, closed=True),
            codec.encode_closed,
        )
        return pb.CloseAccountResponse.FromString(response)

    @override
    async def ReopenAccount(self, request: pb.ReopenAccountRequest, context: Context) -> pb.ReopenAccountResponse:
        with Fields() as fields:
            account_id = fields.account("name", request.name)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: set_closed(tx, account, act, closed=False),
            codec.encode_reopened,
        )
        return pb.ReopenAccountResponse.FromString(response)

    @override
    async def ListLedgerEntries(
        self, request: pb.ListLedgerEntriesRequest, context: Context
    ) -> pb.ListLedgerEntriesResponse:
        with Fields() as fields:
            account_id = fields.account("account", request.account)
            service_id = None
            if request.inference_service:
                owner_id, service_id = fields.service("inference_service", request.inference_service)
                if owner_id not in ("", account_id):
                    fields.refuse("inference_service", "must be a service of the account")
            (after,), limit = decode_page(fields, request, (INT64_MAX if request.newest_first else 0,))
        async with self._database.reading() as tx:
            account = await tx.accounts.get(account_id)
            if service_id is not None:
                await find_service(tx, account, service_id)
            entries = await tx.ledger.page(account_id, service_id, after, limit + 1, newest_first=request.newest_first)
        page, token = encode_page(
            request, entries, limit, codec.encode_ledger_entry, lambda entry: (entry.entry_number,)
        )
        return pb.ListLedgerEntriesResponse(ledger_entries=page, next_page_token=token)

    @override
    async def GetStatement(self, request: pb.GetStatementRequest, context: Context) -> pb.GetStatementResponse:
        query = decode_statement_query(request, current_caller().rights)
        async with self._database.reading() as tx:
            statement = await statement_of(tx, query, self._clock.now_us())
        return pb.GetStatementResponse(statement=encode_statement(statement))
