"""Metering behind Envoy: its external processing as another way to the same middleware."""
