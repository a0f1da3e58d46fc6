"""The metering database, on SQLite or PostgreSQL."""

from typing import Final

from metering_service.storage.purge import SqlPurgeStore
from metering_service.storage.recorder import SqlRecorder
from metering_service.storage.recovery import SqlRecoveryStore
from metering_service.storage.roll_up import SqlRollUpStore
from metering_service.storage.usage_reader import SqlUsageReader

__all__ = ["MIGRATIONS", "SqlPurgeStore", "SqlRecorder", "SqlRecoveryStore", "SqlRollUpStore", "SqlUsageReader"]

MIGRATIONS: Final = "metering_service:storage/migrations"
"""Where `migrate` finds this database's revisions."""
