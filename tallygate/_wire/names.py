"""The shape of resource names and their ids, as the contract has it. Imports only the standard library.

Ids that people choose have at most 63 characters: as many as a label of DNS and a label's value of Kubernetes, so that
a host or a workload may be named like its account, model, service or node. A default service is named by its model, so
its id has up to 71 characters; no longer id is any service's, in whichever program it is asked for.
"""

from typing import Final

ID_MAX: Final = 63
"""Characters of an id that people choose."""
DEFAULT_PREFIX: Final = "default-"
"""Prefix of the ids of default services; a model's id follows."""

ACCOUNT_ID: Final = rf"[a-z0-9][a-z0-9-]{{0,{ID_MAX - 1}}}"
NODE_ID: Final = ACCOUNT_ID
TEAM_ID: Final = ACCOUNT_ID
SERVICE_ACCOUNT_ID: Final = ACCOUNT_ID
API_KEY_ID: Final = ACCOUNT_ID
WEBHOOK_ID: Final = ACCOUNT_ID
LIMIT_ID: Final = ACCOUNT_ID
"""A rate rule's or a budget's."""
MODEL_ID: Final = rf"[a-z0-9][a-z0-9._-]{{0,{ID_MAX - 1}}}"
CUSTOM_SERVICE_ID: Final = f"(?!{DEFAULT_PREFIX}){ACCOUNT_ID}"
SERVICE_ID: Final = f"(?:{CUSTOM_SERVICE_ID}|{DEFAULT_PREFIX}{MODEL_ID})"
"""A custom service's or a default one's."""
