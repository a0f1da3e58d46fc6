"""The control service: accounts, catalogue, inference services and their lifecycle, leases, the ledger."""
