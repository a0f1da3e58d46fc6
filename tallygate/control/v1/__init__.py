"""Version 1 of the control service's contract: generated stubs."""
