"""Replays a trace of requests as a fleet of inference servers would have metered it, and reconciles the books."""
