"""The pepper of a database: all of its replicas have the same one, for good."""

from control_service.domain.token_seal import TokenSeal
from control_service.usecases.ports import Database


async def is_pepper_known(database: Database, seal: TokenSeal) -> bool:
    """Whether the tokens of this database are hashed with this pepper. The first one that is asked about is its own.

    Raises:
        StorageUnavailableError: the database fails.
    """
    async with database.writing() as tx:
        return await tx.access_tokens.enter_pepper(seal.fingerprint) == seal.fingerprint
