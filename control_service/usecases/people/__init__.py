"""Requests of people: accounts and their money, models and prices, services and how they are billed.

Each call is one transaction that is done once, however often it is repeated (`idempotent_call.py`). The rules are in
`domain/`; `service_status.py` derives the statuses that follow from a change.
"""
