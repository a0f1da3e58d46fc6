"""The contract of the metering service."""
