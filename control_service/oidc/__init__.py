"""OpenID Connect: what providers say is fetched and verified here, and nowhere else.

An id token's way begins with `verifier.py`; `key_cache.py` knows the keys of an issuer, and `id_token.py` says what a
token must be like. `issuers_file.py` reads which issuers there are. No protobuf and no SQL are known here.
"""
