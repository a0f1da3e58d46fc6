"""A control service that asks for proof, and its first operator."""

from pathlib import Path

import grpc
import pytest

from tallygate._access.token_text import token_id_of, token_text
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tests.harness.control.access import SEAL
from tests.harness.wire.callers import OPERATOR_TOKEN, calling, guarded_control
from tests.harness.wire.control_failures import failure

LIST = accounts.ListAccountsRequest()
WRONG = {
    "": "CREDENTIAL_MISSING",
    "x": "CREDENTIAL_INVALID",
    OPERATOR_TOKEN[:-1]: "CREDENTIAL_INVALID",
    token_text(token_id_of(b"o" * 15), b"x" * 32): "CREDENTIAL_INVALID",
    token_text(SEAL.new_id(b"x" * 9), b"x" * 32): "CREDENTIAL_INVALID",
}


async def test_the_first_operator_may_do_everything(tmp_path: Path) -> None:
    """Before there is anything in the database."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        assert (await control.accounts.ListAccounts(LIST)).accounts[0].name == "accounts/acme"


@pytest.mark.parametrize(("token", "reason"), WRONG.items())
async def test_who_proves_nothing_is_not_let_in(tmp_path: Path, token: str, reason: str) -> None:
    """UNAUTHENTICATED with a reason that repeats nothing of what was shown."""
    async with guarded_control(tmp_path) as control, calling(control.address, token) as caller:
        refused = await failure(caller.accounts.ListAccounts(LIST))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
        assert len(token) < 2 or token not in refused.message
        refused = await failure(caller.catalogue.ListModels(catalogue.ListModelsRequest()))
        assert refused.code is grpc.StatusCode.UNAUTHENTICATED
