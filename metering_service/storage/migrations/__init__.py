"""The metering database's revisions."""
