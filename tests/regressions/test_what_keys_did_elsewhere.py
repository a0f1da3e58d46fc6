"""What users of other gateways suffered from API keys, by name: each is what they would have wanted to see instead.

The file is named after where its cases come from: readers compare them with those systems, not with one rule here.
"""

import base64
import hashlib
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from control_service.bootstrap import Access
from control_service.usecases.resolve_credential import Credentials
from tallygate.control.v1 import (
    api_key_config_pb2,
    api_key_pb2,
    audit_service_pb2,
    audit_service_pb2_grpc,
    budget_pb2,
    limit_service_pb2,
    limit_service_pb2_grpc,
)
from tallygate.control.v1 import fleet_service_pb2 as fleet
from tallygate.control.v1 import key_service_pb2 as pb
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tests.harness.control.access import SEAL
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import Control, WireNode, running_control, wire_node

OPEN_WITH_PEPPER = Access(Credentials(SEAL))
FIRST, OTHER = "accounts/acme/keys/first", "accounts/acme/keys/other"
OWN_SECRET = "x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue"  # what a tenant brings along
EVERYTHING = api_key_pb2.KeyScope(all_services=True, all_models=True)
VALID = api_key_config_pb2.API_KEY_STATE_VALID


def sha_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def asked(node: WireNode, secret: str) -> api_key_config_pb2.ApiKeyConfig:
    """What control says of a key, asked by a node."""
    sha = sha_of(secret)
    await node.say(fleet.WatchConfigRequest(subscription=fleet.ConfigSubscription(subscribe_api_keys=[sha])))
    await node.until(lambda: any(config.key_sha256 == sha for config in node.api_keys))
    return next(config for config in reversed(node.api_keys) if config.key_sha256 == sha)


async def stocked(control: Control) -> None:
    await control.stock()
    await control.create_service("accounts/acme/services/chat")


async def test_a_rotation_that_restarted_a_budget(tmp_path: Path) -> None:
    """The key stays the same, by the unique id that all is counted by; so does what hangs on it."""
    async with running_control(tmp_path, access=OPEN_WITH_PEPPER) as control, wire_node(control) as node:
        await stocked(control)
        limits = limit_service_pb2_grpc.LimitServiceStub(control.channel)
        made = await control.keys.CreateKey(pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING))
        budget = limit_service_pb2.CreateBudgetRequest(
            name="accounts/acme/budgets/daily",
            place=FIRST,
            unit=budget_pb2.BUDGET_UNIT_TOKENS,
            amount_units=1_000,
            period=budget_pb2.CALENDAR_PERIOD_DAY,
            time_zone="UTC",
            initial_spent_units=700,
        )
        before = (await limits.CreateBudget(budget)).budget
        rotated = await control.keys.RotateKey(pb.RotateKeyRequest(name=FIRST, overlap=Duration(seconds=60)))
        uids = {(await asked(node, secret)).uid for secret in (made.secret, rotated.secret)}
        assert uids == {made.key.uid}
        after = (await limits.GetBudget(limit_service_pb2.GetBudgetRequest(name=before.name))).budget
        assert after == before


async def test_a_route_that_fell_back_when_its_service_was_gone(tmp_path: Path) -> None:
    """It stays in the key, and leads to what is deleted: nobody is served by what was not meant."""
    async with running_control(tmp_path, access=OPEN_WITH_PEPPER) as control, wire_node(control) as node:
        await stocked(control)
        route = api_key_config_pb2.ModelRoute(model="models/llama", service="accounts/acme/services/chat")
        routes = api_key_pb2.KeyRoutes(routes=[route])
        made = await control.keys.CreateKey(pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING, routes=routes))
        gone = lifecycle.DeleteInferenceServiceRequest(name=route.service)
        await control.lifecycle.DeleteInferenceService(gone)
        config = await asked(node, made.secret)
        assert (config.state, list(config.routes)) == (VALID, [route])


async def test_a_key_that_stood_in_a_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a secret nor its SHA-256, in whichever form: not in a log, an audit entry, or a byte of the database."""
    secrets = [OWN_SECRET]
    async with running_control(tmp_path, access=OPEN_WITH_PEPPER) as control, wire_node(control) as node:
        await stocked(control)
        made = await control.keys.CreateKey(pb.CreateKeyRequest(name=FIRST, scope=EVERYTHING, idempotency_key="k"))
        rotated = await control.keys.RotateKey(pb.RotateKeyRequest(name=FIRST, idempotency_key="k"))
        own = pb.CreateKeyRequest(name=OTHER, scope=EVERYTHING, secret=OWN_SECRET, idempotency_key="own")
        await control.keys.CreateKey(own)
        taken = pb.CreateKeyRequest(name=f"{OTHER}-2", scope=EVERYTHING, secret=OWN_SECRET)
        assert (await failure(control.keys.CreateKey(taken))).fields == ["secret"]
        imported = pb.ImportedKey(name=f"{OTHER}-3", secret_sha256=sha_of("imported"))
        await control.keys.ImportKeys(pb.ImportKeysRequest(account="accounts/acme", keys=[imported]))
        pasted = pb.UpdateKeyRequest(name=FIRST, display_name=f"was {made.secret}")
        assert (await failure(control.keys.UpdateKey(pasted))).fields == ["display_name"]
        secrets += [made.secret, rotated.secret, "imported", "guessed"]
        for secret in secrets:
            await asked(node, secret)
        audit = audit_service_pb2_grpc.AuditServiceStub(control.channel)
        entries = (await audit.ListAuditEntries(audit_service_pb2.ListAuditEntriesRequest())).audit_entries
    logged = capfd.readouterr()
    kept = b"".join([*_bytes_in(tmp_path), *(text.encode() for text in (str(entries), logged.out, logged.err))])
    assert FIRST.encode() in kept
    texts = [text.encode() for text in (OWN_SECRET, *secrets[1:3], *(one.split("-")[2] for one in secrets[1:3]))]
    shas = [sha_of(secret) for secret in secrets]
    forms = [*texts, *shas, *(sha.hex().encode() for sha in shas), *map(base64.b64encode, shas)]
    assert [form for form in forms if form in kept] == []


def _bytes_in(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in directory.iterdir()]
