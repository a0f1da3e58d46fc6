"""Revisions of the control database; the service runs them at its start."""
