"""What a node knows of its services: configuration, leases, open requests, and reports that wait.

Everything here is plain state that use cases read and change; nothing here decides.
"""
