"""API keys on the wire."""

from dataclasses import replace
from typing import Any, Final, TypeAlias

from control_service.api.fields import Fields
from control_service.domain.api_key import (
    EVERYTHING,
    NAMED_MAX,
    OVERLAP_US_DEFAULT,
    OVERLAP_US_MAX,
    TEMPORARY_US_MAX,
    TEMPORARY_US_MIN,
    ApiKey,
    KeyScope,
)
from control_service.domain.key_networks import NETWORK_COUNT_MAX, first_twice, parse_network
from control_service.domain.names import model_name, service_name
from control_service.usecases.key_ports import KeyFilter
from control_service.usecases.keys.key_changes import KeyRotation, KeyUpdate
from control_service.usecases.keys.key_views import KeyView
from control_service.usecases.keys.new_keys import ImportedKey, NewKey
from tallygate._access.key_text import KEY_TEXT
from tallygate._access.permission import Permission
from tallygate._server.clock import US_PER_SECOND
from tallygate._server.grpc.caller import current_caller
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import api_key_config_pb2, api_key_pb2
from tallygate.control.v1 import key_service_pb2 as pb

IMPORT_MAX: Final = 1_000
"""Maximum number of keys that one call brings along."""
_SHA256_BYTES: Final = 32

SaysKey: TypeAlias = pb.CreateKeyRequest | pb.ImportedKey
"""Messages that say what a new key shall be."""


def decode_create(fields: Fields, request: pb.CreateKeyRequest) -> tuple[str, NewKey]:
    """The account's id, and the key to make."""
    account_id, key_id = fields.api_key("name", request.name)
    if not request.HasField("scope"):
        fields.refuse("scope", "must be set: all_services or some services, all_models or some models")
    temporary_us = _temporary_us(fields, request) if request.HasField("temporary_for") else None
    new = _decode_new(fields, "", request, (account_id, key_id))
    return account_id, replace(new, temporary_us=temporary_us, secret=request.secret)


def decode_import(fields: Fields, request: pb.ImportKeysRequest) -> tuple[str, list[ImportedKey]]:
    """The account's id, and the keys to bring along."""
    account_id = fields.account("account", request.account)
    if not 1 <= len(request.keys) <= IMPORT_MAX:
        fields.refuse("keys", f"must be 1 to {IMPORT_MAX:,} keys: bring more along in several calls")
    imported: list[ImportedKey] = []
    ids: set[str] = set()
    for index, one in enumerate(request.keys[:IMPORT_MAX]):
        path = f"keys[{index}]."
        owner_id, key_id = fields.api_key(f"{path}name", one.name)
        if owner_id != account_id or key_id in ids:
            fields.refuse(f"{path}name", f"must be another name of a key of {request.account}")
        ids.add(key_id)
        if len(one.secret_sha256) != _SHA256_BYTES:
            fields.refuse(f"{path}secret_sha256", f"must have {_SHA256_BYTES} bytes")
        new = _decode_new(fields, path, one, (account_id, key_id))
        imported.append(ImportedKey(new, one.secret_sha256, one.disabled))
    return account_id, imported


def decode_update(fields: Fields, request: pb.UpdateKeyRequest) -> tuple[tuple[str, str], KeyUpdate]:
    """The ids of account and key, and the key's new settings."""
    account_id, key_id = fields.api_key("name", request.name)
    display_name = _display_name(fields, "display_name", request.display_name)
    scope = _decode_scope(fields, "scope", request.scope, account_id) if request.HasField("scope") else None
    if request.HasField("expire_time") and request.clear_expire_time:
        fields.refuse("clear_expire_time", "must not be given together with expire_time")
    return (account_id, key_id), KeyUpdate(
        display_name=display_name if request.HasField("display_name") else None,
        scope=scope,
        routes=_decode_routes(fields, "routes", request.routes, account_id) if request.HasField("routes") else None,
        networks=_decode_networks(fields, "networks", request.networks) if request.HasField("networks") else None,
        expire_us=fields.moment_us("expire_time", request.expire_time) if request.HasField("expire_time") else None,
        clear_expiry=request.clear_expire_time,
    )


def decode_rotation(fields: Fields, request: pb.RotateKeyRequest) -> tuple[str, KeyRotation]:
    """The account's id, and which of its keys shall have another secret; no overlap ends the one before at once."""
    overlap_us = OVERLAP_US_DEFAULT
    if request.HasField("overlap"):
        overlap_us = fields.overlap_us("overlap", request.overlap, OVERLAP_US_MAX)
    account_id, key_id = fields.api_key("name", request.name)
    return account_id, KeyRotation(key_id, overlap_us)


def decode_list(fields: Fields, request: pb.ListKeysRequest) -> KeyFilter:
    """The filter of the list, narrowed to what the caller sees."""
    account_id, service_id = fields.account("account", request.account) if request.account else None, None
    if request.inference_service:
        of_account, service_id = fields.service("inference_service", request.inference_service)
        if service_id and request.account and of_account != account_id:
            fields.refuse("inference_service", "must be a service of the account that is asked for")
        account_id = of_account or account_id
    return KeyFilter(
        account_id=account_id,
        service_id=service_id,
        team=fields.team_id("team", request.team) or None,
        show_deleted=request.show_deleted,
        sight=current_caller().rights.sight(Permission.KEYS_READ),
    )


def encode_key(view: KeyView) -> api_key_pb2.ApiKey:
    """The resource; nothing in it tells of a secret."""
    key, previous_us = view.key, view.key.previous_secret_expire_us
    return api_key_pb2.ApiKey(
        name=key.name,
        uid=key.uid,
        display_name=key.display_name,
        team=key.team,
        owner=key.owner,
        scope=api_key_pb2.KeyScope(**scope_values(key)),
        routes=api_key_pb2.KeyRoutes(routes=encode_routes(key)),
        networks=api_key_pb2.KeyNetworks(networks=key.networks),
        expire_time=encode_timestamp(key.expire_us),
        temporary=key.temporary,
        disabled=key.disabled,
        state=encode_enum(api_key_config_pb2.ApiKeyState, view.state),
        secret_id=key.secret_id,
        previous_secret_expire_time=encode_timestamp(previous_us if (previous_us or 0) > view.now_us else None),
        creator=key.creator,
        create_time=encode_timestamp(key.create_us),
        update_time=encode_timestamp(key.update_us),
        delete_time=encode_timestamp(key.delete_us),
    )


def scope_values(key: ApiKey) -> dict[str, Any]:
    """The four fields of a scope, as the resource and the configuration for nodes have them."""
    services, models = key.scope.service_ids, key.scope.model_ids
    return {
        "all_services": services is None,
        "services": [service_name(key.account_id, one) for one in services or ()],
        "all_models": models is None,
        "models": [model_name(one) for one in models or ()],
    }


def encode_routes(key: ApiKey) -> list[api_key_config_pb2.ModelRoute]:
    """The key's routes, by model."""
    return [
        api_key_config_pb2.ModelRoute(model=model_name(model), service=service_name(key.account_id, service))
        for model, service in sorted(key.routes.items())
    ]


def _decode_new(fields: Fields, path: str, said: SaysKey, key: tuple[str, str]) -> NewKey:
    account_id, key_id = key
    expires = said.HasField("expire_time")
    scope = _decode_scope(fields, f"{path}scope", said.scope, account_id) if said.HasField("scope") else EVERYTHING
    return NewKey(
        key_id=key_id,
        display_name=_display_name(fields, f"{path}display_name", said.display_name),
        team=fields.team_id(f"{path}team", said.team),
        owner=fields.principal(f"{path}owner", said.owner) if said.owner else "",
        scope=scope,
        routes=_decode_routes(fields, f"{path}routes", said.routes, account_id),
        networks=_decode_networks(fields, f"{path}networks", said.networks),
        expire_us=fields.moment_us(f"{path}expire_time", said.expire_time) if expires else None,
        creator=current_caller().member,
    )


def _display_name(fields: Fields, path: str, text: str) -> str:
    """A name for people, in which nobody has pasted the key itself."""
    if KEY_TEXT.search(text) is not None:
        fields.refuse(path, "must not have the secret of a key in it: everybody who lists keys would see that")
    return fields.text(path, text)


def _temporary_us(fields: Fields, request: pb.CreateKeyRequest) -> int:
    length_us = fields.duration_us("temporary_for", request.temporary_for, TEMPORARY_US_MAX)
    if request.HasField("expire_time"):
        fields.refuse("temporary_for", "must not be given together with expire_time")
    if 0 < length_us < TEMPORARY_US_MIN:
        fields.refuse("temporary_for", f"must be at least {TEMPORARY_US_MIN // US_PER_SECOND} s")
    return length_us


def _decode_scope(fields: Fields, path: str, scope: api_key_pb2.KeyScope, account_id: str) -> KeyScope:
    for some, every in (("services", scope.all_services), ("models", scope.all_models)):
        names = getattr(scope, some)
        if every == bool(names):
            what = f"must be given without all_{some}" if every else f"must not be empty without all_{some}"
            fields.refuse(f"{path}.{some}", what)
        if len(names) > NAMED_MAX:
            fields.refuse(f"{path}.{some}", f"must not be more than {NAMED_MAX:,}")
    services = {
        _own_service(fields, f"{path}.services[{index}]", name, account_id)
        for index, name in enumerate(scope.services[:NAMED_MAX])
    }
    models = {fields.model(f"{path}.models[{index}]", name) for index, name in enumerate(scope.models[:NAMED_MAX])}
    return KeyScope(
        None if scope.all_services else tuple(sorted(services)), None if scope.all_models else tuple(sorted(models))
    )


def _decode_routes(fields: Fields, path: str, routes: api_key_pb2.KeyRoutes, account_id: str) -> dict[str, str]:
    if len(routes.routes) > NAMED_MAX:
        fields.refuse(f"{path}.routes", f"must not be more than {NAMED_MAX:,}")
    decoded: dict[str, str] = {}
    for index, route in enumerate(routes.routes[:NAMED_MAX]):
        model_id = fields.model(f"{path}.routes[{index}].model", route.model)
        if model_id in decoded:
            fields.refuse(f"{path}.routes[{index}].model", "has a route already: a model has one")
        decoded[model_id] = _own_service(fields, f"{path}.routes[{index}].service", route.service, account_id)
    return decoded


def _decode_networks(fields: Fields, path: str, networks: api_key_pb2.KeyNetworks) -> tuple[str, ...]:
    if len(networks.networks) > NETWORK_COUNT_MAX:
        fields.refuse(f"{path}.networks", f"must not be more than {NETWORK_COUNT_MAX}")
    decoded: list[str] = []
    for index, text in enumerate(networks.networks[:NETWORK_COUNT_MAX]):
        network = parse_network(text)
        if network is None:
            what = (
                "must be a network such as 192.0.2.0/24 or 2001:db8::/32, without bits beyond its length, or an address"
            )
            fields.refuse(f"{path}.networks[{index}]", what)
        decoded.append(network or "")
    twice = first_twice(decoded)
    if twice is not None and decoded[twice]:
        fields.refuse(f"{path}.networks[{twice}]", "is there twice")
    return tuple(decoded)


def _own_service(fields: Fields, path: str, name: str, account_id: str) -> str:
    service_account_id, service_id = fields.service(path, name)
    if service_id and service_account_id != account_id:
        fields.refuse(path, "must be a service of the key's account")
    return service_id
