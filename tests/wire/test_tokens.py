"""The life of tokens on a real server: what each opens, and how each ends."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from control_service.usecases import last_uses
from tallygate._access.token_text import read_token
from tallygate._server.clock import ManualClock
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import fleet_service_pb2 as fleet
from tallygate.control.v1 import fleet_service_pb2_grpc
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.callers import OPERATOR_TOKEN, calling, guarded_control
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control

ACME = "accounts/acme"
ROBOT = f"{ACME}/serviceAccounts/robot"
GET = accounts.GetAccountRequest(name=ACME)
TEAM_ADMIN = role_pb2.ROLE_TEAM_ADMIN


async def robot(control: Control, role: "role_pb2.Role.ValueType" = role_pb2.ROLE_VIEWER, name: str = ROBOT) -> None:
    """A service account with a role where it was made."""
    await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=name))
    scope = name.rpartition("/serviceAccounts/")[0]
    request = access.CreateBindingRequest(scope=scope, member=f"serviceAccount:{name}", role=role)
    await control.access.CreateBinding(request)


async def token_of(control: Control, name: str = ROBOT, **limits: object) -> tokens.CreateAccessTokenResponse:
    request = tokens.CreateAccessTokenRequest(service_account=name, **limits)  # type: ignore[arg-type]
    made: tokens.CreateAccessTokenResponse = await control.tokens.CreateAccessToken(request)
    return made


def is_in_files(directory: Path, secret: str) -> bool:
    random_part = secret.split("_")[2].encode()
    return any(random_part in file.read_bytes() for file in directory.iterdir())


async def opens(control: Control, secret: str) -> str:
    """Empty where the token opens its account, else the reason why it does not."""
    async with calling(control.address, secret) as caller:
        try:
            await caller.accounts.GetAccount(GET)
        except grpc.aio.AioRpcError:
            return (await failure(caller.accounts.GetAccount(GET))).reason
    return ""


async def test_a_token_opens_what_its_service_account_may_do(tmp_path: Path) -> None:
    """And says who it proves; nothing beyond that."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        made = await token_of(control)
        async with calling(control.address, made.secret) as caller:
            assert (await caller.accounts.GetAccount(GET)).account.name == ACME
            who = await caller.access.WhoAmI(access.WhoAmIRequest())
            assert (who.member, who.access_token) == (f"serviceAccount:{ROBOT}", made.access_token.name)
            assert [(right.role, right.scope) for right in who.rights] == [(role_pb2.ROLE_VIEWER, ACME)]
            request = accounts.UpdateAccountRequest(name=ACME, display_name="x")
            assert (await failure(caller.accounts.UpdateAccount(request))).reason == "PERMISSION_DENIED"
            other = accounts.GetAccountRequest(name="accounts/other")
            assert (await failure(caller.accounts.GetAccount(other))).reason == "RESOURCE_NOT_FOUND"


async def test_a_token_ends_at_once(tmp_path: Path) -> None:
    """Disabled, deleted, with its owner disabled or deleted; enabled again it opens."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        made = await token_of(control)
        name, member = made.access_token.name, f"serviceAccount:{ROBOT}"
        stub, principals = control.tokens, control.access
        assert await opens(control, made.secret) == ""
        assert (await stub.DisableAccessToken(tokens.DisableAccessTokenRequest(name=name))).access_token.disabled
        assert await opens(control, made.secret) == "CREDENTIAL_REVOKED"
        assert not (await stub.EnableAccessToken(tokens.EnableAccessTokenRequest(name=name))).access_token.disabled
        assert await opens(control, made.secret) == ""
        disabled = await principals.DisablePrincipal(access.DisablePrincipalRequest(member=member))
        assert disabled.principal.disabled
        assert await opens(control, made.secret) == "CREDENTIAL_REVOKED"
        listed = await stub.ListServiceAccounts(tokens.ListServiceAccountsRequest(scope=ACME))
        assert [(one.name, one.disabled) for one in listed.service_accounts] == [(ROBOT, True)]
        await principals.EnablePrincipal(access.EnablePrincipalRequest(member=member))
        assert await opens(control, made.secret) == ""
        second = await token_of(control)
        await stub.DeleteAccessToken(tokens.DeleteAccessTokenRequest(name=name))
        assert await opens(control, made.secret) == "CREDENTIAL_REVOKED"
        assert (await failure(stub.EnableAccessToken(tokens.EnableAccessTokenRequest(name=name)))).code is (
            grpc.StatusCode.NOT_FOUND
        )
        await stub.DeleteServiceAccount(tokens.DeleteServiceAccountRequest(name=ROBOT))
        assert await opens(control, second.secret) == "CREDENTIAL_REVOKED"
        again = await failure(stub.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=ROBOT)))
        assert again.reason == "RESOURCE_EXISTS"
        assert not (await principals.ListBindings(access.ListBindingsRequest(scope=ACME))).bindings


async def test_a_token_expires_and_is_rotated(tmp_path: Path) -> None:
    """At its time; the secret before a rotation a while after it, or at once where no overlap is wanted."""
    clock = ManualClock()
    async with guarded_control(tmp_path, clock) as control:
        await control.stock()
        await robot(control)
        first = await token_of(control, valid_for=Duration(seconds=600))
        rotate = tokens.RotateAccessTokenRequest(name=first.access_token.name, overlap=Duration(seconds=60))
        second = await control.tokens.RotateAccessToken(rotate)
        assert second.access_token.HasField("previous_secret_expire_time")
        assert [await opens(control, one.secret) for one in (first, second)] == ["", ""]
        clock.advance(60)
        assert [await opens(control, one.secret) for one in (first, second)] == ["CREDENTIAL_EXPIRED", ""]
        at_once = tokens.RotateAccessTokenRequest(name=first.access_token.name, overlap=Duration())
        third = await control.tokens.RotateAccessToken(at_once)
        reasons = [await opens(control, one.secret) for one in (first, second, third)]
        assert reasons == ["CREDENTIAL_INVALID", "CREDENTIAL_EXPIRED", ""]
        clock.advance(540)
        assert await opens(control, third.secret) == "CREDENTIAL_EXPIRED"


async def test_a_secret_is_answered_once(tmp_path: Path) -> None:
    """A repeat of the call has the resource and says that the secret is lost; no list has one."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        first, repeat = [await token_of(control, idempotency_key="k") for _ in range(2)]
        assert first.secret
        assert not first.secret_lost
        assert (repeat.secret, repeat.secret_lost, repeat.access_token) == ("", True, first.access_token)
        name = first.access_token.name
        rotate = tokens.RotateAccessTokenRequest(name=name, idempotency_key="k")
        rotated, repeated = [await control.tokens.RotateAccessToken(rotate) for _ in range(2)]
        assert await opens(control, rotated.secret) == ""
        assert (repeated.secret, repeated.secret_lost, repeated.access_token.name) == ("", True, name)
        listed = await control.tokens.ListAccessTokens(tokens.ListAccessTokensRequest(service_account=ROBOT))
        assert [one.name for one in listed.access_tokens] == [name]
    assert not any(is_in_files(tmp_path, made.secret) for made in (first, rotated))


async def test_a_narrowed_token_makes_no_wider_one(tmp_path: Path) -> None:
    """It acts on its owner's tokens within its own limits only."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control, role_pb2.ROLE_OWNER)
        wide = await token_of(control)
        narrow = await token_of(control, narrowed_role=role_pb2.ROLE_VIEWER)
        async with calling(control.address, narrow.secret) as caller:
            request = accounts.UpdateAccountRequest(name=ACME, display_name="x")
            assert (await failure(caller.accounts.UpdateAccount(request))).reason == "PERMISSION_DENIED"
            rotate = tokens.RotateAccessTokenRequest(name=wide.access_token.name)
            assert (await failure(caller.tokens.RotateAccessToken(rotate))).reason == "PERMISSION_DENIED"
            asked = tokens.CreateAccessTokenRequest(service_account=ROBOT, narrowed_role=role_pb2.ROLE_OWNER)
            assert (await failure(caller.tokens.CreateAccessToken(asked))).fields == ["narrowed_role"]
            own = await token_of(caller)
            assert own.access_token.narrowed_role == role_pb2.ROLE_VIEWER
            rotate = tokens.RotateAccessTokenRequest(name=narrow.access_token.name)
            assert (await caller.tokens.RotateAccessToken(rotate)).secret


async def test_a_token_that_ends_makes_none_that_lasts_longer(tmp_path: Path) -> None:
    """Whoever holds it must not go on after its end: by a new token, by a new secret, or by one that was disabled."""
    clock = ManualClock()
    async with guarded_control(tmp_path, clock) as control:
        await control.stock()
        await robot(control, role_pb2.ROLE_OWNER)
        endless, sooner = await token_of(control), await token_of(control, valid_for=Duration(seconds=300))
        ending = await token_of(control, valid_for=Duration(seconds=600))
        async with calling(control.address, ending.secret) as caller:
            for seconds, fields in ((601, ["valid_for"]), (600, []), (60, [])):
                asked = tokens.CreateAccessTokenRequest(service_account=ROBOT, valid_for=Duration(seconds=seconds))
                if fields:
                    refused = await failure(caller.tokens.CreateAccessToken(asked))
                    assert (refused.fields, refused.code) == (fields, grpc.StatusCode.INVALID_ARGUMENT)
                else:
                    assert (await caller.tokens.CreateAccessToken(asked)).secret
            own = await token_of(caller)
            assert own.access_token.expire_time == ending.access_token.expire_time
            longer = endless.access_token.name
            await caller.tokens.DisableAccessToken(tokens.DisableAccessTokenRequest(name=longer))
            longer_rotated = tokens.RotateAccessTokenRequest(name=longer)
            assert (await failure(caller.tokens.RotateAccessToken(longer_rotated))).reason == "PERMISSION_DENIED"
            enable = tokens.EnableAccessTokenRequest(name=longer)
            assert (await failure(caller.tokens.EnableAccessToken(enable))).reason == "PERMISSION_DENIED"
            for made in (sooner, ending):
                rotate = tokens.RotateAccessTokenRequest(name=made.access_token.name)
                assert (await caller.tokens.RotateAccessToken(rotate)).secret
            other = f"{ACME}/serviceAccounts/other"
            await caller.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=other))
            assert not (await token_of(caller, other)).access_token.HasField("expire_time")
        clock.advance(600)
        assert await opens(control, own.secret) == "CREDENTIAL_EXPIRED"
        await control.tokens.EnableAccessToken(enable)
        assert await opens(control, endless.secret) == ""


async def test_a_narrowed_token_enables_no_wider_one(tmp_path: Path) -> None:
    """One that was disabled because it leaked stays so; whoever stole both gains nothing. Less power is no harm."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control, role_pb2.ROLE_OWNER)
        wide = await token_of(control)
        narrow, other = [await token_of(control, narrowed_role=role_pb2.ROLE_VIEWER) for _ in range(2)]
        async with calling(control.address, narrow.secret) as caller:
            for made, reason in ((wide, "PERMISSION_DENIED"), (other, "")):
                name = made.access_token.name
                await caller.tokens.DisableAccessToken(tokens.DisableAccessTokenRequest(name=name))
                enable = tokens.EnableAccessTokenRequest(name=name)
                if reason:
                    assert (await failure(caller.tokens.EnableAccessToken(enable))).reason == reason
                else:
                    assert not (await caller.tokens.EnableAccessToken(enable)).access_token.disabled
        lesser = f"{ACME}/serviceAccounts/lesser"
        await robot(control, role_pb2.ROLE_OWNER, lesser)
        admins = await token_of(control, lesser, narrowed_role=role_pb2.ROLE_TEAM_ADMIN)
        name = wide.access_token.name
        async with calling(control.address, admins.secret) as caller:
            enable = tokens.EnableAccessTokenRequest(name=name)
            assert (await failure(caller.tokens.EnableAccessToken(enable))).reason == "ROLE_DENIED"
        assert await opens(control, wide.secret) == "CREDENTIAL_REVOKED"
        assert not (
            await control.tokens.EnableAccessToken(tokens.EnableAccessTokenRequest(name=name))
        ).access_token.disabled


async def test_a_narrowed_token_enables_no_service_account_that_may_do_more(tmp_path: Path) -> None:
    """Whoever knows a secret of it would do all of that again. Whoever may give its roles may enable it."""
    lesser = f"{ACME}/serviceAccounts/lesser"
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control, role_pb2.ROLE_OWNER)
        await robot(control, role_pb2.ROLE_OWNER, lesser)
        wide = await token_of(control)
        owners, admins = await token_of(control, lesser), await token_of(control, lesser, narrowed_role=TEAM_ADMIN)
        member = f"serviceAccount:{ROBOT}"
        enable = access.EnablePrincipalRequest(member=member)
        async with calling(control.address, admins.secret) as caller:
            await caller.access.DisablePrincipal(access.DisablePrincipalRequest(member=member))
            assert (await failure(caller.access.EnablePrincipal(enable))).reason == "ROLE_DENIED"
        assert await opens(control, wide.secret) == "CREDENTIAL_REVOKED"
        async with calling(control.address, owners.secret) as caller:
            assert not (await caller.access.EnablePrincipal(enable)).principal.disabled
        assert await opens(control, wide.secret) == ""


async def test_a_repeat_after_rights_were_lost_learns_nothing(tmp_path: Path) -> None:
    """Of each call that may be made for one's own tokens without the permission, and was made for another's with it."""
    manager = f"{ACME}/serviceAccounts/manager"
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        await robot(control, role_pb2.ROLE_OWNER, manager)
        made = await token_of(control, manager)
        async with calling(control.address, made.secret) as caller:
            name = (await token_of(caller, idempotency_key="k")).access_token.name
            calls: list[tuple[Any, Any]] = [
                (caller.tokens.CreateAccessToken, tokens.CreateAccessTokenRequest(service_account=ROBOT)),
                (caller.tokens.RotateAccessToken, tokens.RotateAccessTokenRequest(name=name)),
                (caller.tokens.DisableAccessToken, tokens.DisableAccessTokenRequest(name=name)),
                (caller.tokens.EnableAccessToken, tokens.EnableAccessTokenRequest(name=name)),
                (caller.tokens.DeleteAccessToken, tokens.DeleteAccessTokenRequest(name=name)),
            ]
            for call, request in calls:
                request.idempotency_key = "k"
                await call(request)
            listed = await control.access.ListBindings(access.ListBindingsRequest(member=f"serviceAccount:{manager}"))
            viewer = access.CreateBindingRequest(
                scope=ACME, member=f"serviceAccount:{manager}", role=role_pb2.ROLE_VIEWER
            )
            await control.access.CreateBinding(viewer)
            await control.access.DeleteBinding(access.DeleteBindingRequest(name=listed.bindings[0].name))
            reasons = [(await failure(call(request))).reason for call, request in calls]
            assert reasons == ["PERMISSION_DENIED"] * len(calls)


async def test_a_service_account_acts_on_its_own_tokens_only(tmp_path: Path) -> None:
    """Those of others need the permission; a person's need to be theirs."""
    other = f"{ACME}/serviceAccounts/other"
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        await robot(control, role_pb2.ROLE_OWNER, other)
        mine, others = await token_of(control), await token_of(control, other)
        async with calling(control.address, mine.secret) as caller:
            own = await caller.tokens.ListAccessTokens(tokens.ListAccessTokensRequest(service_account=ROBOT))
            assert [one.name for one in own.access_tokens] == [mine.access_token.name]
            delete = tokens.DeleteAccessTokenRequest(name=others.access_token.name)
            assert (await failure(caller.tokens.DeleteAccessToken(delete))).reason == "PERMISSION_DENIED"
            make = tokens.CreateAccessTokenRequest(service_account=other)
            assert (await failure(caller.tokens.CreateAccessToken(make))).reason == "PERMISSION_DENIED"
            make = tokens.CreateAccessTokenRequest()
            assert (await failure(caller.tokens.CreateAccessToken(make))).fields == ["service_account"]
            personal = tokens.DeleteAccessTokenRequest(name="accessTokens/" + "a" * 24)
            assert (await failure(caller.tokens.DeleteAccessToken(personal))).reason == "RESOURCE_NOT_FOUND"
            disable = access.DisablePrincipalRequest(member=f"serviceAccount:{other}")
            assert (await failure(caller.access.DisablePrincipal(disable))).reason == "PERMISSION_DENIED"
            disable = access.DisablePrincipalRequest(member="serviceAccount:accounts/x/serviceAccounts/y")
            assert (await failure(caller.access.DisablePrincipal(disable))).reason == "RESOURCE_NOT_FOUND"
        async with calling(control.address, others.secret) as owner:
            disable = access.DisablePrincipalRequest(member=f"serviceAccount:{ROBOT}")
            assert (await owner.access.DisablePrincipal(disable)).principal.disabled
            disable = access.DisablePrincipalRequest(member="person:https://issuer.example#alice")
            assert (await failure(owner.access.DisablePrincipal(disable))).reason == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"valid_for": Duration(seconds=59)}, "valid_for"),
        ({"valid_for": Duration(seconds=3_661 * 86_400)}, "valid_for"),
        ({"narrowed_scope": "acme"}, "narrowed_scope"),
        ({"display_name": "a\nb"}, "display_name"),
        ({"service_account": "robot"}, "service_account"),
    ],
)
async def test_what_no_token_can_be_is_refused(tmp_path: Path, limits: dict[str, object], field: str) -> None:
    """With the field."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        request = tokens.CreateAccessTokenRequest(**{"service_account": ROBOT, **limits})  # type: ignore[arg-type]
        assert (await failure(control.tokens.CreateAccessToken(request))).fields == [field]


async def test_without_issuers_nobody_signs_in(tmp_path: Path) -> None:
    """The list of issuers is empty, and an id token proves nothing."""
    async with guarded_control(tmp_path) as control, calling(control.address) as nobody:
        options = await nobody.tokens.GetSignInOptions(tokens.GetSignInOptionsRequest())
        assert not options.issuers
        refused = await failure(nobody.tokens.ExchangeToken(tokens.ExchangeTokenRequest(id_token="a.b.c")))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


async def test_the_day_of_the_last_use_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A while after the use, at this service or at a node that asks for what its caller has shown."""
    monkeypatch.setattr(last_uses, "FLUSH_INTERVAL_S", 0.01)
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await robot(control)
        here, there, never = [await token_of(control) for _ in range(3)]
        assert await opens(control, here.secret) == ""
        shown = read_token(there.secret)
        assert shown is not None
        proof = fleet.TokenProof(token_id=shown.token_id, token_sha256=shown.sha256)
        async with grpc.aio.insecure_channel(control.address) as channel:
            stream: Any = fleet_service_pb2_grpc.FleetServiceStub(channel).WatchConfig(
                metadata=(("authorization", f"Bearer {OPERATOR_TOKEN}"),)
            )
            hello = fleet.NodeHello(node="node-a", epoch=1, metering_database_id="m")
            await stream.write(fleet.WatchConfigRequest(hello=hello))
            subscription = fleet.ConfigSubscription(subscribe_credentials=[fleet.Credential(token=proof)])
            await stream.write(fleet.WatchConfigRequest(subscription=subscription))
            async with asyncio.timeout(PATIENCE_S):
                while await used(control) != {here.access_token.name, there.access_token.name}:
                    pass
        assert never.access_token.name not in await used(control)


async def used(control: Control) -> set[str]:
    """The tokens of the robot that were ever used."""
    listed = await control.tokens.ListAccessTokens(tokens.ListAccessTokensRequest(service_account=ROBOT))
    return {token.name for token in listed.access_tokens if token.HasField("last_use_time")}
