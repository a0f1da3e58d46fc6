"""Pots of limits on the wire."""

from typing import Final

from control_service.api.fields import Fields
from control_service.domain.limit import FOR_EVER, LimitPotKey
from control_service.domain.names import account_name
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import pot_pb2

UID_MAX: Final = 128
"""Maximum length of the unique id of a limit or a member."""


def decode_limit_pot(fields: Fields, path: str, message: pot_pb2.LimitPot) -> LimitPotKey:
    """Which pot of a limit it is; `path` is what the names of its fields begin with."""
    start_us = FOR_EVER
    if message.HasField("period_start_time"):
        start_us = fields.moment_us(f"{path}period_start_time", message.period_start_time)
    fields.required_text(f"{path}limit_uid", message.limit_uid, UID_MAX)
    if message.member_uid:
        fields.required_text(f"{path}member_uid", message.member_uid, UID_MAX)
    account_id = fields.account(f"{path}account", message.account)
    return LimitPotKey(account_id, message.limit_uid, message.member_uid, start_us)


def encode_limit_pot(key: LimitPotKey) -> pot_pb2.LimitPot:
    """Which pot of a limit it is."""
    has_period = key.period_start_us != FOR_EVER
    return pot_pb2.LimitPot(
        account=account_name(key.account_id),
        limit_uid=key.limit_uid,
        member_uid=key.member_uid,
        period_start_time=encode_timestamp(key.period_start_us) if has_period else None,
    )
