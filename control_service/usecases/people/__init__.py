"""What people ask for: accounts and their money, models and prices, services and how they are billed.

Each call is one transaction that is done once however often it is repeated (`idempotent_call.py`). The rules are in
`domain/`; what follows from a change is worked out by `service_status.py`.
"""
