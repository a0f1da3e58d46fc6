"""Requests of metering nodes: their registration, the configuration feed, leases.

A node's journey begins with `node_registration.py`; configurations reach it by `config_feed.py`, and it exchanges
leases by `lease_exchange.py`. The rule that lives here: a pot's units are leased once, and settled once.
"""
