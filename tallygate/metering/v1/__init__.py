"""Version 1 of the metering service's contract: generated stubs."""
