"""What others are asked, and what they answer: their methods, and the few fields of their messages that a load needs.

The messages are declared here by field number, as their projects publish them; everything else in them is left alone.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessages

LIMIT: Final = 10**9
"""Decisions that each key may have: no load comes near it, so that each is allowed."""
PERIOD_MS: Final = 60_000
_TYPES: Final = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}


class Field(NamedTuple):
    """A field of a message. `kind`: a type of protobuf, or another message of the same file."""

    number: int
    kind: str
    repeated: bool = False


class Dialect(Protocol):
    """How one server is asked."""

    method: str

    def request(self, keys: Sequence[str]) -> bytes:
        """Ask for one decision on each key."""

    def allowed(self, answer: bytes) -> int:
        """Number of decisions in an answer that allow."""


def messages(package: str, declared: dict[str, dict[str, Field]]) -> dict[str, Any]:
    """Classes of messages, by name."""
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in declared.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{kind}"
    classes = GetMessages([file], DescriptorPool())
    return {name: classes[f"{package}.{name}"] for name in declared}


# Numbers as in gubernator.proto of github.com/gubernator-io/gubernator, v2.16.0. Enums are read as numbers.
_GUBERNATOR: Final = messages(
    "tallygate.benchmarks.gubernator",
    {
        "GetRateLimitsReq": {"requests": Field(1, "RateLimitReq", repeated=True)},
        "RateLimitReq": {
            "name": Field(1, "string"),
            "unique_key": Field(2, "string"),
            "hits": Field(3, "int64"),
            "limit": Field(4, "int64"),
            "duration": Field(5, "int64"),
            "behavior": Field(7, "int32"),
        },
        "GetRateLimitsResp": {"responses": Field(1, "RateLimitResp", repeated=True)},
        "RateLimitResp": {"status": Field(1, "int32"), "error": Field(5, "string")},
    },
)
_NO_BATCHING: Final = 1
"""Behaviour that decides at once; its own batches wait for 500 us."""
_UNDER_LIMIT: Final = 0


class Gubernator:
    """Token buckets, as many as are asked for in one call."""

    method = "/pb.gubernator.V1/GetRateLimits"

    def request(self, keys: Sequence[str]) -> bytes:
        """A hit for each key."""
        request = _GUBERNATOR["GetRateLimitsReq"]()
        for key in keys:
            request.requests.add(
                name="bench", unique_key=key, hits=1, limit=LIMIT, duration=PERIOD_MS, behavior=_NO_BATCHING
            )
        written: bytes = request.SerializeToString()
        return written

    def allowed(self, answer: bytes) -> int:
        """Those under their limit, without an error."""
        responses = _GUBERNATOR["GetRateLimitsResp"].FromString(answer).responses
        return sum(not each.error and each.status == _UNDER_LIMIT for each in responses)


# Numbers as in envoy/service/ratelimit/v3/rls.proto and envoy/extensions/common/ratelimit/v3/ratelimit.proto of
# github.com/envoyproxy/envoy.
_ENVOY: Final = messages(
    "tallygate.benchmarks.ratelimit",
    {
        "RateLimitRequest": {
            "domain": Field(1, "string"),
            "descriptors": Field(2, "RateLimitDescriptor", repeated=True),
            "hits_addend": Field(3, "uint32"),
        },
        "RateLimitDescriptor": {"entries": Field(1, "Entry", repeated=True)},
        "Entry": {"key": Field(1, "string"), "value": Field(2, "string")},
        "RateLimitResponse": {
            "overall_code": Field(1, "int32"),
            "statuses": Field(2, "DescriptorStatus", repeated=True),
        },
        "DescriptorStatus": {"code": Field(1, "int32")},
    },
)
DOMAIN: Final = "bench"
ENTRY: Final = "request"
_OK: Final = 1


class EnvoyRateLimit:
    """Envoy's rate limit service, which several servers speak. A call is one decision, whatever it is about."""

    method = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

    def request(self, keys: Sequence[str]) -> bytes:
        """A hit for one key; of more it is refused where any of them is."""
        request = _ENVOY["RateLimitRequest"](domain=DOMAIN, hits_addend=1)
        for key in keys:
            request.descriptors.add().entries.add(key=ENTRY, value=key)
        written: bytes = request.SerializeToString()
        return written

    def allowed(self, answer: bytes) -> int:
        """One, if all is well."""
        return int(_ENVOY["RateLimitResponse"].FromString(answer).overall_code == _OK)


DIALECTS: Final[dict[str, Dialect]] = {"gubernator": Gubernator(), "ratelimit": EnvoyRateLimit()}
