"""API keys of end users: created or brought along, changed, rotated, ended.

Each call that changes something is one transaction that is done once (`idempotent_call.py`). What a key opens is judged
by `resolve_api_key.py`, for people and for metering nodes alike; nodes learn of it by `fleet/api_key_feed.py`.
"""
