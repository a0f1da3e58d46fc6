"""API keys for tests of the control service without its wire."""

import hashlib
from dataclasses import replace
from typing import Any

from control_service.domain.api_key import ApiKey, KeySecret
from control_service.domain.api_key_seal import ApiKeySeal
from control_service.storage.database import SqlDatabase
from tests.harness.control.access import SEAL

KEY_SEAL = ApiKeySeal(SEAL)


def sha_of(text: str) -> bytes:
    """What a node shows of a key with this text."""
    return hashlib.sha256(text.encode()).digest()


def api_key(key_id: str = "first", **settings: Any) -> ApiKey:
    """A key of acme."""
    account_id = settings.pop("account_id", "acme")
    return ApiKey(account_id, key_id, uid=f"uid-{account_id}-{key_id}", **settings)


def secret_of(key: ApiKey, text: str = "") -> KeySecret:
    """A secret of the key; by default its id is the text."""
    return KeySecret(KEY_SEAL.hash_of_text(text or key.key_id), key.account_id, key.key_id)


async def put(database: SqlDatabase, *keys: ApiKey) -> None:
    """Stores new keys, each with its id as the text of its secret, with a version of their own."""
    async with database.writing() as tx:
        version = await tx.next_config_version()
        await tx.api_keys.add([replace(key, config_version=version) for key in keys], [secret_of(key) for key in keys])


async def save(database: SqlDatabase, key: ApiKey) -> None:
    """Stores the key as it shall be, with a version of its own."""
    async with database.writing() as tx:
        await tx.api_keys.save(replace(key, config_version=await tx.next_config_version()))


async def rotate(database: SqlDatabase, key: ApiKey, text: str, end_us: int, now_us: int) -> None:
    """Gives the key another secret, with a version of its own."""
    async with database.writing() as tx:
        await tx.api_keys.replace_secret(key, secret_of(key, text), end_us, now_us)
        await tx.api_keys.save(replace(key, config_version=await tx.next_config_version()))
