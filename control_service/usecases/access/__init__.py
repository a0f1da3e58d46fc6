"""Who calls and what callers may do: bindings, principals, service accounts and their tokens, sign-ins.

Each call that changes something is one transaction that is done once (`idempotent_call.py`). The rules are in
`domain/`; `resolve_credential.py` tells what a credential opens, for this service's gate and for metering nodes alike.
`oidc_port.py` says what is needed of OpenID Connect.
"""
