"""The life of API keys on a real server: made, brought along, listed, changed, rotated, ended."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate._server.clock import ManualClock
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import api_key_config_pb2, api_key_pb2, audit_service_pb2, audit_service_pb2_grpc
from tallygate.control.v1 import inference_service_pb2 as services
from tallygate.control.v1 import key_service_pb2 as pb
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import team_service_pb2 as teams
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.wire.callers import calling, guarded_control
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control, running_control

ACME = "accounts/acme"
FIRST = f"{ACME}/keys/first"
EVERYTHING = api_key_pb2.KeyScope(all_services=True, all_models=True)
OWN_SECRET = "x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue"  # what a tenant brings along
VALID, EXPIRED, REVOKED = (
    api_key_config_pb2.API_KEY_STATE_VALID,
    api_key_config_pb2.API_KEY_STATE_EXPIRED,
    api_key_config_pb2.API_KEY_STATE_REVOKED,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def control(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Control]:
    """A server with the account `acme`, two teams, and a service in each and in none."""
    async with guarded_control(tmp_path, clock) as control:
        await control.stock()
        for team in ("search", "chat"):
            await control.teams.CreateTeam(teams.CreateTeamRequest(name=f"{ACME}/teams/{team}"))
            await service(control, team, team=team)
        await service(control, "loner")
        yield control


async def service(control: Control, service_id: str, **settings: Any) -> services.InferenceService:
    name = f"{ACME}/services/{service_id}"
    request = lifecycle.CreateInferenceServiceRequest(name=name, model="models/llama", **settings)
    return (await control.lifecycle.CreateInferenceService(request)).inference_service


async def make(control: Control, name: str = FIRST, **settings: Any) -> pb.CreateKeyResponse:
    scope = settings.pop("scope", EVERYTHING)
    made: pb.CreateKeyResponse = await control.keys.CreateKey(pb.CreateKeyRequest(name=name, scope=scope, **settings))
    return made


async def get(control: Control, name: str = FIRST) -> api_key_pb2.ApiKey:
    return (await control.keys.GetKey(pb.GetKeyRequest(name=name))).key


async def listed(control: Control, **wanted: Any) -> list[str]:
    answer = await control.keys.ListKeys(pb.ListKeysRequest(**wanted))
    return [key.name.rpartition("/")[2] for key in answer.keys]


def bytes_in(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


def some(*service_ids: str, models: tuple[str, ...] = ()) -> api_key_pb2.KeyScope:
    return api_key_pb2.KeyScope(
        services=[f"{ACME}/services/{one}" for one in service_ids], models=models, all_models=not models
    )


def routed(service_id: str, model: str = "models/llama") -> api_key_pb2.KeyRoutes:
    route = api_key_config_pb2.ModelRoute(model=model, service=f"{ACME}/services/{service_id}")
    return api_key_pb2.KeyRoutes(routes=[route])


async def test_a_key_has_a_life(control: Control) -> None:
    """It is made with a secret that is shown once, found, changed, disabled, enabled, deleted; its name is used up."""
    made = await make(control, display_name="First")
    assert made.secret.startswith(f"sk-{made.key.secret_id}-")
    assert not made.secret_lost
    assert (made.key.state, made.key.uid != "") == (VALID, True)
    assert made.key == await get(control)
    networks = api_key_pb2.KeyNetworks(networks=["2001:DB8::/32", "192.0.2.7"])
    update = pb.UpdateKeyRequest(
        name=FIRST, display_name="1st", scope=some("loner"), routes=routed("loner"), networks=networks
    )
    changed = (await control.keys.UpdateKey(update)).key
    assert (changed.display_name, changed.uid) == ("1st", made.key.uid)
    assert list(changed.scope.services) == [f"{ACME}/services/loner"]
    assert changed.routes == routed("loner")
    assert list(changed.networks.networks) == ["2001:db8::/32", "192.0.2.7/32"]
    nothing_given = (await control.keys.UpdateKey(pb.UpdateKeyRequest(name=FIRST))).key
    assert nothing_given == changed
    assert (await control.keys.DisableKey(pb.DisableKeyRequest(name=FIRST))).key.state == REVOKED
    assert (await control.keys.EnableKey(pb.EnableKeyRequest(name=FIRST))).key.state == VALID
    gone = (await control.keys.DeleteKey(pb.DeleteKeyRequest(name=FIRST))).key
    assert (gone.state, gone.HasField("delete_time")) == (REVOKED, True)
    assert (await get(control)) == gone
    assert await listed(control, account=ACME) == []
    assert await listed(control, account=ACME, show_deleted=True) == ["first"]
    again = pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING)
    assert (await failure(control.keys.CreateKey(again))).reason == "RESOURCE_EXISTS"
    assert (await failure(control.keys.EnableKey(pb.EnableKeyRequest(name=FIRST)))).reason == "RESOURCE_DELETED"
    none = pb.DisableKeyRequest(name=f"{ACME}/keys/none")
    assert (await failure(control.keys.DisableKey(none))).reason == "RESOURCE_NOT_FOUND"


async def test_a_secret_is_answered_once(control: Control) -> None:
    """A repeat has the resource, and says that the secret is lost; not of one that was brought along: it is known."""
    first, repeat = [await make(control, idempotency_key="k") for _ in range(2)]
    assert (repeat.secret, repeat.secret_lost, repeat.key) == ("", True, first.key)
    rotate = pb.RotateKeyRequest(name=FIRST, idempotency_key="k")
    rotated, repeated = [await control.keys.RotateKey(rotate) for _ in range(2)]
    assert rotated.secret not in ("", first.secret)
    assert (repeated.secret, repeated.secret_lost) == ("", True)
    own = [await make(control, f"{ACME}/keys/own", secret=OWN_SECRET, idempotency_key="own") for _ in range(2)]
    assert [(one.secret, one.secret_lost, one.key.secret_id) for one in own] == [("", False, "")] * 2
    other = pb.CreateKeyRequest(
        name=f"{ACME}/keys/own", scope=EVERYTHING, secret=OWN_SECRET[::-1], idempotency_key="own"
    )
    assert (await failure(control.keys.CreateKey(other))).reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_rotation_keeps_all_but_the_secret(control: Control, clock: ManualClock) -> None:
    """The unique id above all, by which everything is counted; the secret before is known for a while, or not."""
    made = await make(control, display_name="First", routes=routed("loner"))
    rotated = (await control.keys.RotateKey(pb.RotateKeyRequest(name=FIRST, overlap=Duration(seconds=60)))).key
    assert rotated.uid == made.key.uid
    assert rotated.HasField("previous_secret_expire_time")
    assert rotated.secret_id != made.key.secret_id
    clock.advance(60)
    later = await get(control)
    assert not later.HasField("previous_secret_expire_time")
    at_once = (await control.keys.RotateKey(pb.RotateKeyRequest(name=FIRST, overlap=Duration()))).key
    assert not at_once.HasField("previous_secret_expire_time")
    for kept in ("display_name", "routes", "scope", "create_time", "uid", "state"):
        assert getattr(at_once, kept) == getattr(made.key, kept)
    long = pb.RotateKeyRequest(name=FIRST, overlap=Duration(seconds=31 * 86_400))
    assert (await failure(control.keys.RotateKey(long))).fields == ["overlap"]


async def test_a_taken_secret_is_refused_as_an_unsuitable_one_is(control: Control) -> None:
    """In the same words, reason and field, in one's own account and in another: nobody learns what others have."""
    await make(control, secret=OWN_SECRET)
    other = f"{ACME}/keys/other"
    refused = []
    for secret in (OWN_SECRET, "short", "a" * 40, "YOUR_API_KEY_HERE_YOUR_API_KEY_HERE_1"):
        request = pb.CreateKeyRequest(name=other, scope=EVERYTHING, secret=secret)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await control.keys.CreateKey(request)
        refused.append((error.value.code(), error.value.details(), error.value.trailing_metadata()))
        assert secret not in str(error.value)
    assert len(set(map(str, refused))) == 1
    assert await listed(control, account=ACME) == ["first"]
    await control.keys.DeleteKey(pb.DeleteKeyRequest(name=FIRST))
    taken = pb.CreateKeyRequest(name=other, scope=EVERYTHING, secret=OWN_SECRET)
    assert (await failure(control.keys.CreateKey(taken))).fields == ["secret"], "It is known for a week."


async def test_operators_bring_keys_along_by_their_hashes(control: Control) -> None:
    """All of them or none; one whose hash is taken, or there twice, is refused as elsewhere."""
    hashes = [hashlib.sha256(f"{OWN_SECRET}{number}".encode()).digest() for number in range(3)]

    def batch(*shas: bytes, start: int = 0) -> pb.ImportKeysRequest:
        keys = [
            pb.ImportedKey(name=f"{ACME}/keys/k{start + place}", secret_sha256=sha, team="search")
            for place, sha in enumerate(shas)
        ]
        return pb.ImportKeysRequest(account=ACME, keys=keys, idempotency_key=f"{start}")

    first, repeat = [await control.keys.ImportKeys(batch(*hashes[:2])) for _ in range(2)]
    assert (first.key_count, repeat) == (2, first)
    assert await listed(control, account=ACME, team="search") == ["k0", "k1"]
    key = await get(control, f"{ACME}/keys/k0")
    assert (key.team, key.scope, key.secret_id, key.state) == ("search", EVERYTHING, "", VALID)
    for shas, place in (((hashes[2], hashes[1]), 1), ((hashes[2], hashes[2]), 1)):
        refused = await failure(control.keys.ImportKeys(batch(*shas, start=10)))
        assert refused.fields == [f"keys[{place}].secret_sha256"]
    text = pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING, secret=f"{OWN_SECRET}0")
    assert (await failure(control.keys.CreateKey(text))).fields == ["secret"]
    assert (await failure(control.keys.ImportKeys(batch(hashes[2], start=1)))).reason == "RESOURCE_EXISTS"
    assert await listed(control, account=ACME) == ["k0", "k1"]
    unknown_team = batch(hashes[2], start=20)
    unknown_team.keys[0].team = "none"
    assert (await failure(control.keys.ImportKeys(unknown_team))).fields == ["keys[0].team"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"scope": api_key_pb2.KeyScope(all_models=True)}, "scope.services"),
        ({"scope": api_key_pb2.KeyScope(all_services=True)}, "scope.models"),
        ({"scope": api_key_pb2.KeyScope(all_services=True, services=[f"{ACME}/services/loner"], all_models=True)},
         "scope.services"),
        ({"scope": some("none")}, "scope.services"),
        ({"scope": some("chat"), "team": "search"}, "scope.services"),
        ({"scope": some("default-none")}, "scope.services"),
        ({"scope": some("loner", models=("models/none",))}, "scope.models"),
        ({"scope": api_key_pb2.KeyScope(services=["accounts/other/services/x"], all_models=True)}, "scope.services[0]"),
        ({"routes": routed("none")}, "routes.routes"),
        ({"routes": routed("chat"), "team": "search"}, "routes.routes"),
        ({"routes": routed("loner", "models/mistral")}, "routes.routes"),
        ({"routes": routed("loner"), "scope": some("search")}, "routes.routes"),
        ({"networks": api_key_pb2.KeyNetworks(networks=["192.0.2.1/24"])}, "networks.networks[0]"),
        ({"networks": api_key_pb2.KeyNetworks(networks=[f"10.0.0.{n}" for n in range(51)])}, "networks.networks"),
        ({"networks": api_key_pb2.KeyNetworks(networks=["10.0.0.1", "10.0.0.1/32"])}, "networks.networks[1]"),
        ({"expire_time": Timestamp(seconds=1)}, "expire_time"),
        ({"temporary_for": Duration(seconds=59)}, "temporary_for"),
        ({"temporary_for": Duration(seconds=30 * 86_400 + 1)}, "temporary_for"),
        ({"temporary_for": Duration(seconds=60), "expire_time": Timestamp(seconds=4_000_000_000)}, "temporary_for"),
        ({"team": "none"}, "team"),
        ({"owner": "person:https://issuer.example#stranger"}, "owner"),
        ({"owner": "group:https://issuer.example#staff"}, "owner"),
        ({"owner": "nonsense"}, "owner"),
        ({"name": f"{ACME}/keys/Upper"}, "name"),
    ],
)  # fmt: skip
async def test_a_wrong_setting_is_named(control: Control, settings: dict[str, Any], field: str) -> None:
    """And nothing is made."""
    said: dict[str, Any] = {"name": FIRST, "scope": EVERYTHING} | settings
    request = pb.CreateKeyRequest(**said)
    assert (await failure(control.keys.CreateKey(request))).fields == [field]
    assert await listed(control, account=ACME) == []


async def test_a_teams_key_may_name_what_it_reaches(control: Control) -> None:
    """Services of its team, shared ones, and shared default ones; a key of no team may name all of the account."""
    await service(control, "common", shared=True)
    default = f"{ACME}/services/default-llama"
    share = lifecycle.UpdateInferenceServiceRequest(name=default, shared=True)
    shared = (await control.lifecycle.UpdateInferenceService(share)).inference_service
    assert (shared.shared, shared.credential_policy) == (True, services.CREDENTIAL_POLICY_OPEN)
    await make(control, team="search", scope=some("search", "common", "default-llama"), routes=routed("common"))
    await make(control, f"{ACME}/keys/all", scope=some("search", "chat", "loner", "default-llama"))


async def test_what_is_gone_keeps_its_place(control: Control) -> None:
    """A route to a service that was deleted stays, also through an update; a new one to it is refused."""
    await make(control, scope=some("loner", "chat"), routes=routed("loner"))
    loner = lifecycle.DeleteInferenceServiceRequest(name=f"{ACME}/services/loner")
    await control.lifecycle.DeleteInferenceService(loner)
    assert (await get(control)).routes == routed("loner")
    update = pb.UpdateKeyRequest(name=FIRST, scope=some("loner", "chat", "search"), routes=routed("loner"))
    assert (await control.keys.UpdateKey(update)).key.routes == routed("loner")
    narrower = pb.UpdateKeyRequest(name=FIRST, scope=some("chat"))
    assert (await failure(control.keys.UpdateKey(narrower))).fields == ["routes.routes"]
    other = pb.CreateKeyRequest(name=f"{ACME}/keys/other", scope=EVERYTHING, routes=routed("loner"))
    assert (await failure(control.keys.CreateKey(other))).fields == ["routes.routes"]


async def test_a_key_expires(control: Control, clock: ManualClock) -> None:
    """At its time, which can be moved; a temporary one's cannot."""
    now_s = clock.now_us() // 10**6
    await make(control, expire_time=Timestamp(seconds=now_s + 100))
    await make(control, f"{ACME}/keys/brief", temporary_for=Duration(seconds=60))
    clock.advance(60)
    assert [(await get(control, f"{ACME}/keys/{one}")).state for one in ("first", "brief")] == [VALID, EXPIRED]
    clock.advance(40)
    assert (await get(control)).state == EXPIRED
    later = pb.UpdateKeyRequest(name=FIRST, expire_time=Timestamp(seconds=now_s + 200))
    assert (await control.keys.UpdateKey(later)).key.state == VALID
    never = (await control.keys.UpdateKey(pb.UpdateKeyRequest(name=FIRST, clear_expire_time=True))).key
    assert not never.HasField("expire_time")
    brief = pb.UpdateKeyRequest(name=f"{ACME}/keys/brief", expire_time=Timestamp(seconds=now_s + 200))
    assert (await failure(control.keys.UpdateKey(brief))).fields == ["expire_time"]
    brief = pb.UpdateKeyRequest(name=f"{ACME}/keys/brief", clear_expire_time=True)
    assert (await failure(control.keys.UpdateKey(brief))).fields == ["expire_time"]


async def test_a_key_ends_with_its_owner(control: Control) -> None:
    """While the owner has no role in the account, or is disabled; a role elsewhere does not count."""
    robot, stub = f"{ACME}/serviceAccounts/robot", control.access
    member = f"serviceAccount:{robot}"
    await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=robot))
    request = pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING, owner=member)
    assert (await failure(control.keys.CreateKey(request))).fields == ["owner"]
    role = access.CreateBindingRequest(scope=f"{ACME}/teams/search", member=member, role=role_pb2.ROLE_TEAM_MEMBER)
    bound = (await stub.CreateBinding(role)).binding.name
    assert (await control.keys.CreateKey(request)).key.state == VALID
    await stub.DisablePrincipal(access.DisablePrincipalRequest(member=member))
    assert (await get(control)).state == REVOKED
    await stub.EnablePrincipal(access.EnablePrincipalRequest(member=member))
    assert (await get(control)).state == VALID
    await stub.DeleteBinding(access.DeleteBindingRequest(name=bound))
    assert (await get(control)).state == REVOKED


async def test_a_service_after_the_first_key_needs_keys(control: Control) -> None:
    """Unless it is said otherwise; what was there before, and default services, are left as they are."""
    policy = [services.CREDENTIAL_POLICY_OPEN, services.CREDENTIAL_POLICY_REQUIRED]
    assert (await service(control, "early")).credential_policy == policy[0]
    assert (await service(control, "strict", credential_policy=policy[1])).credential_policy == policy[1]
    await make(control)
    assert (await service(control, "late")).credential_policy == policy[1]
    assert (await service(control, "lax", credential_policy=policy[0])).credential_policy == policy[0]
    await control.keys.DeleteKey(pb.DeleteKeyRequest(name=FIRST))
    assert (await service(control, "later")).credential_policy == policy[1]
    for name in ("early", "default-llama"):
        request = lifecycle.GetInferenceServiceRequest(name=f"{ACME}/services/{name}")
        found = (await control.lifecycle.GetInferenceService(request)).inference_service
        assert found.credential_policy == policy[0]
    change = lifecycle.UpdateInferenceServiceRequest(name=f"{ACME}/services/early", credential_policy=policy[1])
    assert (await control.lifecycle.UpdateInferenceService(change)).inference_service.credential_policy == policy[1]


async def test_a_team_has_its_keys_and_owners_share(control: Control) -> None:
    """A team's admin sees and changes the team's keys only, shares nothing, and exempts nothing from rules."""
    for name, team in (("first", ""), ("found", "search"), ("chatty", "chat")):
        await make(control, f"{ACME}/keys/{name}", team=team)
    robot = f"{ACME}/teams/search/serviceAccounts/admin"
    await control.tokens.CreateServiceAccount(tokens.CreateServiceAccountRequest(name=robot))
    role = access.CreateBindingRequest(
        scope=f"{ACME}/teams/search", member=f"serviceAccount:{robot}", role=role_pb2.ROLE_TEAM_ADMIN
    )
    await control.access.CreateBinding(role)
    made = await control.tokens.CreateAccessToken(tokens.CreateAccessTokenRequest(service_account=robot))
    async with calling(control.address, made.secret) as admin:
        assert await listed(admin, account=ACME) == await listed(admin) == ["found"]
        assert await listed(admin, account=ACME, team="chat") == []
        assert (await admin.keys.RotateKey(pb.RotateKeyRequest(name=f"{ACME}/keys/found"))).secret
        for name in ("first", "chatty", "none"):
            request = pb.RotateKeyRequest(name=f"{ACME}/keys/{name}")
            assert (await failure(admin.keys.RotateKey(request))).reason == "PERMISSION_DENIED"
        assert (await make(admin, f"{ACME}/keys/new", team="search")).secret
        for team in ("", "chat"):
            more = pb.CreateKeyRequest(name=f"{ACME}/keys/more", scope=EVERYTHING, team=team)
            assert (await failure(admin.keys.CreateKey(more))).reason == "PERMISSION_DENIED"
        own = f"{ACME}/services/search"
        for setting in ({"shared": True}, {"shared": False}, {"exempt_from_model_rules": True}):
            update = lifecycle.UpdateInferenceServiceRequest(name=own, **setting)  # type: ignore[arg-type]
            assert (await failure(admin.lifecycle.UpdateInferenceService(update))).reason == "PERMISSION_DENIED"
        strict = lifecycle.UpdateInferenceServiceRequest(
            name=own, credential_policy=services.CREDENTIAL_POLICY_REQUIRED
        )
        await admin.lifecycle.UpdateInferenceService(strict)
        shared = lifecycle.CreateInferenceServiceRequest(
            name=f"{ACME}/services/fresh", model="models/llama", team="search", shared=True
        )
        assert (await failure(admin.lifecycle.CreateInferenceService(shared))).reason == "PERMISSION_DENIED"
    in_use = await failure(control.teams.DeleteTeam(teams.DeleteTeamRequest(name=f"{ACME}/teams/chat")))
    assert in_use.reason == "TEAM_IN_USE"


async def test_changes_of_keys_are_in_the_audit_log_and_secrets_nowhere(control: Control, tmp_path: Path) -> None:
    """Refused ones, too; neither a secret nor its SHA-256 is in an entry, or in a file of the database."""
    made = await make(control)
    rotated = await control.keys.RotateKey(pb.RotateKeyRequest(name=FIRST, idempotency_key="rotate"))
    await make(control, f"{ACME}/keys/own", secret=OWN_SECRET, idempotency_key="own")
    sha = hashlib.sha256(b"brought along by its hash").digest()
    imported = pb.ImportedKey(name=f"{ACME}/keys/imported", secret_sha256=sha)
    await control.keys.ImportKeys(pb.ImportKeysRequest(account=ACME, keys=[imported], idempotency_key="import"))
    await failure(control.keys.CreateKey(pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING, secret=OWN_SECRET)))
    async with calling(control.address) as stranger:
        refused = pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING, secret=OWN_SECRET)
        assert (await failure(stranger.keys.CreateKey(refused))).code is grpc.StatusCode.UNAUTHENTICATED
    stub = audit_service_pb2_grpc.AuditServiceStub(control.channel)
    entries = (await stub.ListAuditEntries(audit_service_pb2.ListAuditEntriesRequest(account=ACME))).audit_entries
    methods = {entry.method.rpartition("/")[2] for entry in entries}
    assert {"CreateKey", "RotateKey", "ImportKeys"} <= methods
    texts = [text.encode() for text in (made.secret, rotated.secret, OWN_SECRET)]
    shas = [sha, *(hashlib.sha256(text).digest() for text in texts)]
    hidden = [*texts, *(text.split(b"-")[2] for text in texts[:2]), *shas, *(one.hex().encode() for one in shas)]
    kept = bytes_in(tmp_path) + str(entries).encode()
    assert FIRST.encode() in kept
    assert [text for text in hidden if text in kept] == []


async def test_a_server_without_a_pepper_keeps_no_keys(tmp_path: Path) -> None:
    """It says so."""
    async with running_control(tmp_path) as control:
        await control.stock()
        assert (await failure(control.keys.CreateKey(pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING)))).reason == (
            "TOKENS_NOT_KEPT"
        )


async def test_many_calls_at_once_bring_a_secret_along_once(control: Control) -> None:
    """Whichever is first; to all others it is taken."""
    requests = [
        pb.CreateKeyRequest(name=f"{ACME}/keys/k{number}", scope=EVERYTHING, secret=OWN_SECRET) for number in range(10)
    ]
    results = await asyncio.gather(*map(control.keys.CreateKey, requests), return_exceptions=True)
    assert sum(isinstance(one, pb.CreateKeyResponse) for one in results) == 1
