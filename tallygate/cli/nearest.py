"""The nearest name to one that there is not, among those that the caller sees."""

from __future__ import annotations

import difflib
from contextlib import suppress
from typing import Any, Final

import grpc

from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import account_service_pb2_grpc as accounts_grpc
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import catalog_service_pb2_grpc as catalogue_grpc
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.control.v1 import lifecycle_service_pb2_grpc as lifecycle_grpc

NAMES_MAX: Final = 1_000
"""Maximum number of names to look among: a page of the list."""
TIMEOUT_S: Final = 2
"""Timeout of the list; without it the error is as it was."""


def nearest(channel: grpc.Channel, name: str) -> str:
    """The nearest account, service or model, by its resource name; empty where none is near or can be listed."""
    with suppress(grpc.RpcError):
        # By the last part alone: whatever comes before is the same in all of them.
        ids = {one.rpartition("/")[2]: one for one in _names(channel, name)}
        near = difflib.get_close_matches(name.rpartition("/")[2], list(ids), 1)
        return ids[near[0]] if near else ""
    return ""


def is_there(channel: grpc.Channel, name: str) -> bool:
    """Whether control knows an account or service of that name; True where it cannot be asked."""
    try:
        if "/services/" in name:
            request = lifecycle.GetInferenceServiceRequest(name=name)
            lifecycle_grpc.LifecycleServiceStub(channel).GetInferenceService(request, timeout=TIMEOUT_S)
        else:
            accounts_grpc.AccountServiceStub(channel).GetAccount(
                accounts.GetAccountRequest(name=name), timeout=TIMEOUT_S
            )
    except grpc.RpcError as error:
        return error.code() is not grpc.StatusCode.NOT_FOUND
    return True


def _names(channel: grpc.Channel, name: str) -> list[str]:
    found: Any
    match name.split("/"):
        case ["accounts", _]:
            stub = accounts_grpc.AccountServiceStub(channel)
            found = stub.ListAccounts(accounts.ListAccountsRequest(page_size=NAMES_MAX), timeout=TIMEOUT_S).accounts
        case ["models", _]:
            catalog = catalogue_grpc.CatalogServiceStub(channel)
            found = catalog.ListModels(catalogue.ListModelsRequest(page_size=NAMES_MAX), timeout=TIMEOUT_S).models
        case ["accounts", account, "services", _]:
            services = lifecycle.ListInferenceServicesRequest(account=f"accounts/{account}", page_size=NAMES_MAX)
            found = (
                lifecycle_grpc.LifecycleServiceStub(channel)
                .ListInferenceServices(services, timeout=TIMEOUT_S)
                .inference_services
            )
        case _:
            return []
    return [one.name for one in found]
