"""Who may do what, as both services judge it: scopes, roles, rights, tokens. Pure, on the standard library."""
