"""The journey of a lease on this node: requested, granted, renewed, returned; and of a service's configuration.

It begins with `lease_keeper.py`, which reports consumption to the control service and takes in what it grants.
"""
