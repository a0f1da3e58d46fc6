"""Who calls, and how callers prove it. `oidc_port.py` says what is needed of OpenID Connect."""
