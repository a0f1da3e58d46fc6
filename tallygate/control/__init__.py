"""The contract of the control service."""
