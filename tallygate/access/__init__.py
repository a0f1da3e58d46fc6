"""The contract of who may do what: the rule of each RPC, roles and permissions."""
