"""Version 1 of the contract of access: generated stubs."""
