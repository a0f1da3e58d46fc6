"""Who a credential is, asked of the control service: at the sign-in, and again every while."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from tallygate.console.caller import Account, Caller, decode_caller
from tallygate.console.calls import READ_TIMEOUT_S, CallError
from tallygate.console.sessions import NS_PER_S, Session
from tallygate.console.show import last
from tallygate.console.site import Site
from tallygate.control.v1 import access_service_pb2, account_service_pb2
from tallygate.control.v1.access_service_pb2_grpc import AccessServiceStub
from tallygate.control.v1.account_service_pb2_grpc import AccountServiceStub

REFRESH_S: Final = 30
"""Interval at which somebody's roles and accounts are read again."""
ACCOUNTS_MAX: Final = 20
"""Maximum number of accounts in the switch between them; more are found by typing."""


async def identify(site: Site, credential: str) -> Caller:
    """Who this credential is; the empty one is anybody at a pair that asks for no proof. Raises CallError."""
    channel = site.control.channel(credential, READ_TIMEOUT_S)
    answer, accounts = await asyncio.gather(
        AccessServiceStub(channel).WhoAmI(access_service_pb2.WhoAmIRequest()), _accounts(channel)
    )
    listed = [Account(last(one.name), one.display_name) for one in accounts.accounts]
    return decode_caller(answer, listed, has_more_accounts=bool(accounts.next_page_token))


async def _accounts(channel: grpc.aio.Channel) -> account_service_pb2.ListAccountsResponse:
    """The first accounts that somebody may read; who has no such role anywhere has none."""
    request = account_service_pb2.ListAccountsRequest(page_size=ACCOUNTS_MAX)
    try:
        return await AccountServiceStub(channel).ListAccounts(request)
    except CallError as error:
        if error.code != grpc.StatusCode.PERMISSION_DENIED:
            raise
        return account_service_pb2.ListAccountsResponse()


async def refresh(site: Site, session: Session) -> None:
    """Read again what the session's caller may do; copies of pages go where that is another than before.

    Raises:
        CallError: the credential opens nothing any more.
    """
    now_ns = site.clock.monotonic_ns()
    if now_ns < session.caller_read_ns + REFRESH_S * NS_PER_S:
        return
    session.caller_read_ns = now_ns
    try:
        caller = await identify(site, session.credential)
    except CallError as error:
        if not error.is_away:
            raise
        return
    if caller.rights != session.caller.rights:
        session.copies.clear()
    session.caller = caller
