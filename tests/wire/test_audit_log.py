"""The audit log of a real control service: an entry for each mutation, refusals, and no secret anywhere."""

import asyncio
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_service.domain.member import OPERATOR
from tallygate._access.token_text import token_id_of, token_text
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import (
    access_service_pb2_grpc,
    api_key_pb2,
    audit_entry_pb2,
    audit_service_pb2,
    audit_service_pb2_grpc,
    token_service_pb2_grpc,
)
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import alert_service_pb2 as alerts
from tallygate.control.v1 import key_service_pb2 as keys
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.control.access import SEAL
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.callers import OPERATOR_TOKEN, calling, guarded_control
from tests.harness.wire.contract_files import methods
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control, running_control
from tests.harness.wire.request_samples import CONTROL_REQUESTS, SERVICE

Entry = audit_entry_pb2.AuditEntry
MUTATIONS = {
    method.input_type.full_name: method
    for method in methods()
    if "idempotency_key" in method.input_type.fields_by_name and method.full_name.startswith("tallygate.control.")
}
"""Methods of the contract that change something, by what they take."""
OF_WEBHOOKS = {
    method.name
    for method in MUTATIONS.values()
    if method.containing_service.name == "AlertService" and method.name != "UpdateAlertSettings"
}
"""Methods that need a pepper, or a webhook, which needs one."""
OF_KEYS = {method.name for method in MUTATIONS.values() if method.containing_service.name == "KeyService"}
"""Methods that need a pepper, or a key, which needs one."""
ALWAYS_SERVED = {
    method.name
    for method in MUTATIONS.values()
    if method.containing_service.name
    in ("AccountService", "CatalogService", "LifecycleService", "LimitService", "TeamService")
} | {"UpdateAlertSettings"}


def is_in_files(directory: Path, secret: bytes) -> bool:
    return any(secret in file.read_bytes() for file in directory.iterdir())


async def entries(control: Control, **wanted: Any) -> list[Entry]:
    """The newest first."""
    stub: Any = audit_service_pb2_grpc.AuditServiceStub(control.channel)
    request = audit_service_pb2.ListAuditEntriesRequest(page_size=1_000, **wanted)
    return list((await stub.ListAuditEntries(request)).audit_entries)


async def until_entry(control: Control, fits: Callable[[Entry], bool]) -> Entry:
    """The first entry that fits, once it is written."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for entry in await entries(control):
                if fits(entry):
                    return entry


async def test_each_mutation_makes_one_entry(tmp_path: Path) -> None:
    """Whatever the contract lets people change: its method and resource, once; nothing where the call has failed."""
    async with running_control(tmp_path) as control:
        await control.stock()
        await control.create_service(SERVICE)
        known, failed = len(await entries(control)), []
        for request in CONTROL_REQUESTS:
            method = MUTATIONS.get(request.DESCRIPTOR.full_name)
            if method is None:
                continue
            name = f"{method.containing_service.full_name}/{method.name}"
            try:
                call: Any = control.channel.unary_unary(f"/{name}")
                await call(request.SerializeToString(), timeout=PATIENCE_S)
            except grpc.aio.AioRpcError:
                failed.append(method.name)
            found = await entries(control)
            made = found[: len(found) - known]
            assert [one.method for one in made] == ([] if method.name in failed else [name])
            assert all(one.resource and one.request_json for one in made), name
            known = len(found)
        assert [name for name in failed if name in ALWAYS_SERVED] == ["DeleteTeam"]  # a service is in it


async def test_each_change_of_access_makes_one_entry(tmp_path: Path) -> None:
    """Of roles, principals, service accounts and tokens: all that the contract has of them."""
    robot, person = "accounts/acme/serviceAccounts/robot", "person:https://issuer#anna"
    async with guarded_control(tmp_path) as control:
        await control.stock()
        roles: Any = access_service_pb2_grpc.AccessServiceStub(control.channel)
        stub: Any = token_service_pb2_grpc.TokenServiceStub(control.channel)
        done: list[tuple[str, str]] = []

        async def do(method: str, call: Any, resource: str = "") -> Any:
            response = await call
            done.append((method, resource or next(iter(response.ListFields()))[1].name))
            return response

        owner = access.CreateBindingRequest(scope="accounts/acme", member=person, role=role_pb2.ROLE_VIEWER)
        bound = (await do("CreateBinding", roles.CreateBinding(owner))).binding.name
        await do("DeleteBinding", roles.DeleteBinding(access.DeleteBindingRequest(name=bound)))
        await do("DisablePrincipal", roles.DisablePrincipal(access.DisablePrincipalRequest(member=person)), person)
        await do("EnablePrincipal", roles.EnablePrincipal(access.EnablePrincipalRequest(member=person)), person)
        await do("CreateServiceAccount", stub.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=robot)))
        made = await stub.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=robot))
        token = made.access_token.name
        done.append(("CreateAccessToken", token))
        await do("RotateAccessToken", stub.RotateAccessToken(tokens.RotateAccessTokenRequest(name=token)), token)
        for method in ("Disable", "Enable", "Delete"):
            request = getattr(tokens, f"{method}AccessTokenRequest")(name=token)
            await do(f"{method}AccessToken", getattr(stub, f"{method}AccessToken")(request), token)
        await do("DeleteServiceAccount", stub.DeleteServiceAccount(tokens.DeleteServiceAccountRequest(name=robot)))
        found = (await entries(control))[: len(done)]
        assert [(one.method.rpartition("/")[2], one.resource) for one in reversed(found)] == done
        assert {one.principal for one in found} == {OPERATOR}
        every = {method.name for method in MUTATIONS.values()}
        assert {method for method, _ in done} | ALWAYS_SERVED | OF_WEBHOOKS | OF_KEYS == every


async def test_each_change_of_a_key_makes_one_entry(tmp_path: Path) -> None:
    """All that the contract has of them."""
    name, done = "accounts/acme/keys/first", ["CreateKey"]
    async with guarded_control(tmp_path) as control:
        await control.stock()
        everything = api_key_pb2.KeyScope(all_services=True, all_models=True)
        await control.keys.CreateKey(keys.CreateKeyRequest(name=name, scope=everything))
        for method in ("Update", "Rotate", "Disable", "Enable", "Delete"):
            request = getattr(keys, f"{method}KeyRequest")(name=name)
            await getattr(control.keys, f"{method}Key")(request)
            done.append(f"{method}Key")
        found = await entries(control, resource=name)
        assert [one.method.rpartition("/")[2] for one in reversed(found)] == done
        imported = keys.ImportedKey(name="accounts/acme/keys/other", secret_sha256=bytes(32))
        await control.keys.ImportKeys(keys.ImportKeysRequest(account="accounts/acme", keys=[imported]))
        entry = (await entries(control))[0]
        assert (entry.method.rpartition("/")[2], entry.resource) == ("ImportKeys", "accounts/acme")
        assert "accounts/acme/keys/other" in entry.request_json
        assert {*done, "ImportKeys"} == OF_KEYS


async def test_each_change_of_a_webhook_makes_one_entry(tmp_path: Path) -> None:
    """With the address that it has, and without its secret."""
    name = "accounts/acme/webhooks/pager"
    async with guarded_control(tmp_path) as control:
        await control.stock()
        stub = control.alerts
        # The host is this machine's, where nothing is sent: webhooks lead to the internet.
        made = await stub.CreateWebhook(alerts.CreateWebhookRequest(name=name, url="https://localhost:1/x"))
        await stub.TestWebhook(alerts.TestWebhookRequest(name=name))
        await stub.ReplayAlerts(alerts.ReplayAlertsRequest(webhook=name))
        again = await stub.RotateWebhookSecret(alerts.RotateWebhookSecretRequest(name=name))
        await stub.UpdateWebhook(alerts.UpdateWebhookRequest(name=name, disabled=True))
        await stub.DeleteWebhook(alerts.DeleteWebhookRequest(name=name))
        found = await entries(control, resource=name)
    methods = ["CreateWebhook", "TestWebhook", "ReplayAlerts", "RotateWebhookSecret", "UpdateWebhook", "DeleteWebhook"]
    assert [one.method.rpartition("/")[2] for one in reversed(found)] == methods
    assert "https://localhost:1/x" in found[-1].request_json
    for secret in (made.secret, again.secret):
        assert secret.startswith("whsec_")
        assert not any(secret.removeprefix("whsec_") in str(one) for one in found)
        assert not is_in_files(tmp_path, b64decode(secret.removeprefix("whsec_")))


async def test_an_entry_says_who_and_what(tmp_path: Path) -> None:
    """By the token that proved it, with the caller's word for itself beside it; the account is that of the resource."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        request = accounts.TopUpAccountRequest(name="accounts/acme", amount_nanos=5, reason="Paid", idempotency_key="k")
        await control.accounts.TopUpAccount(request, metadata=(("tallygate-actor", "anna"),))
        entry = (await entries(control))[0]
        assert (entry.principal, entry.caller_note, entry.peer) == (OPERATOR, "anna", "127.0.0.1")
        assert (entry.resource, entry.account) == ("accounts/acme", "accounts/acme")
        assert entry.method == "tallygate.control.v1.AccountService/TopUpAccount"
        assert entry.request_json == (
            '{"name":"accounts/acme","amount_nanos":"5","reason":"Paid","idempotency_key":"k"}'
        )
        listed = await control.accounts.ListLedgerEntries(accounts.ListLedgerEntriesRequest(account="accounts/acme"))
        line = listed.ledger_entries[-1]
        assert (line.actor, line.actor_note) == (entry.principal, "anna")


async def test_refusals_are_counted(tmp_path: Path) -> None:
    """Whoever proves nothing is an address; many calls are one entry, which says what the first has asked."""
    async with guarded_control(tmp_path) as control, calling(control.address) as caller:
        for _ in range(20):
            refused = await failure(caller.accounts.GetAccount(accounts.GetAccountRequest(name="accounts/acme")))
            assert refused.code is grpc.StatusCode.UNAUTHENTICATED
        seen: dict[str, int] = {}

        def all_are_there(entry: Entry) -> bool:
            if entry.reason == "CREDENTIAL_MISSING":
                seen[entry.name] = entry.call_count
            return sum(seen.values()) == 20

        entry = await until_entry(control, all_are_there)
        assert entry.outcome == audit_entry_pb2.AUDIT_OUTCOME_UNAUTHENTICATED
        assert (entry.principal, entry.peer, entry.account) == ("", "127.0.0.1", "")
        assert (entry.resource, entry.request_json) == ("accounts/acme", '{"name":"accounts/acme"}')
        assert len(seen) <= 2  # the next minute may have begun


SECRET = b"s" * 32
WRONG_TOKEN = token_text(SEAL.new_id(b"w" * 9), SECRET)
MARKS = (
    OPERATOR_TOKEN.split("_")[2],
    token_text(token_id_of(bytes(15)), SECRET).split("_")[2],
    "marked-id-token",
    "marked-bearer",
)


async def new_tokens(control: Control) -> list[str]:
    """A token of a service account and the one that takes its place, each asked for twice with the same key."""
    stub: Any = token_service_pb2_grpc.TokenServiceStub(control.channel)
    robot = "accounts/acme/serviceAccounts/robot"
    await stub.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=robot))
    create = tokens.CreateAccessTokenRequest(service_account=robot, idempotency_key="create")
    made = await stub.CreateAccessToken(create)
    rotate = tokens.RotateAccessTokenRequest(name=made.access_token.name, idempotency_key="rotate")
    rotated = await stub.RotateAccessToken(rotate)
    assert [(await call).secret for call in (stub.CreateAccessToken(create), stub.RotateAccessToken(rotate))] == [
        "",
        "",
    ]
    return [made.secret, rotated.secret]


def all_files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def test_no_secret_is_written_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither in the database, nor in a log, nor in an answer: right tokens, wrong ones, ID tokens, and pasted ones."""
    answers: list[str] = []
    async with guarded_control(tmp_path) as control:
        await control.stock()
        pasted = accounts.UpdateAccountRequest(name="accounts/nobody", display_name=WRONG_TOKEN)
        answers.append((await failure(control.accounts.UpdateAccount(pasted))).message)
        for bearer in (WRONG_TOKEN, "marked-bearer", ""):
            async with calling(control.address, bearer) as caller:
                answers.append((await failure(caller.accounts.UpdateAccount(pasted))).message)
                exchange: Any = caller.channel.unary_unary("/tallygate.control.v1.TokenService/ExchangeToken")
                request = tokens.ExchangeTokenRequest(id_token="marked-id-token")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await exchange(request.SerializeToString())
                answers.append(str(caught.value))
        given = await new_tokens(control)
        await until_entry(control, lambda entry: entry.reason == "CREDENTIAL_MISSING")
        answers += [str(entry) for entry in await entries(control)]
    written = all_files(tmp_path)
    logged = "".join(capfd.readouterr())
    assert b"UpdateAccount" in written
    for mark in (*MARKS, *(token.split("_")[2] for token in given)):
        assert mark.encode() not in written
        assert mark not in logged
        assert all(mark not in answer for answer in answers)
