"""Requests as the audit log shows them: JSON without secrets, and not too long."""

import json
import re
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import Message

from tallygate._access import key_text, token_text

LENGTH_MAX: Final = 4_096
"""Maximum number of characters of what is shown of a request."""
REQUEST_BYTES_MAX: Final = 65_536
"""Maximum size of a request that is shown: a larger one takes long to write out, and would be cut anyway."""
_CUT: Final = "..."
_SECRET: Final = re.compile(
    f"({token_text.PREFIX})[a-z2-7_]{{20,}}[a-z0-9_]*"
    f"|(?<![A-Za-z0-9])({key_text.PREFIX})(?:[A-Za-z0-9]+-)*[A-Za-z0-9_]{{20,}}[A-Za-z0-9_-]*"
)
"""Shapes of an access token and of an API key, whoever made it, and of what is left of one that was copied badly."""


def request_json(request: Message, length_max: int = LENGTH_MAX) -> str:
    """The request as JSON, fields named as in the contract; cut, with three dots at the end, where it is too long.

    Fields that the contract marks with `debug_redact` are left out, and what looks like a secret is not shown.
    """
    size_bytes = request.ByteSize()
    if size_bytes > REQUEST_BYTES_MAX:
        return json.dumps(f"{size_bytes:,} bytes, too many to be shown")
    bare: Any = type(request)()
    bare.CopyFrom(request)
    _clear_secrets(bare)
    try:
        fields = MessageToDict(bare, preserving_proto_field_name=True)
    except SerializeToJsonError:  # Of times that no calendar has, in a request that nobody has checked.
        return json.dumps("cannot be shown")
    text = without_secrets(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))
    return text if len(text) <= length_max else text[: length_max - len(_CUT)] + _CUT


def without_secrets(text: str) -> str:
    """A text in which what looks like an access token or an API key is not shown."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}{_CUT}", text)


def _clear_secrets(message: Any) -> None:
    if not _has_secrets(message.DESCRIPTOR):
        return
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else (value,):
                _clear_secrets(one)


@cache
def _has_secrets(message: Descriptor) -> bool:
    return any(
        field.GetOptions().debug_redact or (field.message_type is not None and _has_secrets(field.message_type))
        for field in message.fields
    )
