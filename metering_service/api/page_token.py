"""Where the next page of a service's request records begins, as opaque text."""

import base64

Position = tuple[str, str]
"""The last record of a page: (request_id, part)."""


def encode(service: str, position: Position) -> str:
    """The token for the page after that record."""
    return base64.urlsafe_b64encode("\0".join([service, *position]).encode()).decode()


def decode(token: str, service: str) -> Position:
    """The last record of the page before. Raises ValueError for a token that is not of this service's pages."""
    of_service, request_id, part = base64.b64decode(token, altchars="-_", validate=True).decode().split("\0")
    if of_service != service:
        raise ValueError(token)
    return request_id, part
