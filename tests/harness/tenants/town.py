"""A running control service and a node that ask for proof, and calls of them with every byte that comes back."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._wire.failures import decode_failure
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import token_service_pb2 as tokens
from tests.harness.patience import PATIENCE_S, turns
from tests.harness.programs.requests import NOT_YET
from tests.harness.wire.contract_files import methods

METHODS: Final = {method.input_type.full_name: method for method in methods()}
"""The method of each kind of request."""


@dataclass(frozen=True)
class Answer:
    """How a call ended. `everything`: the message, the status, and what came before and after, page tokens decoded."""

    code: grpc.StatusCode
    body: bytes
    everything: bytes

    @property
    def is_ok(self) -> bool:
        return self.code is grpc.StatusCode.OK


@dataclass(frozen=True)
class Town:
    """The two services, and the first operator's token."""

    control: grpc.Channel
    node: grpc.Channel
    operator: str

    def ask(self, method: MethodDescriptor, request: bytes, token: str) -> Answer:
        """One call, as bytes."""
        channel = self.node if method.full_name.startswith("tallygate.metering.") else self.control
        return ask(channel, f"/{method.containing_service.full_name}/{method.name}", request, token, method)

    def do(self, request: Message, token: str = "") -> Any:
        """A call that must succeed, by the operator unless a token is given; its answer."""
        method = METHODS[request.DESCRIPTOR.full_name]
        answer = self.ask(method, request.SerializeToString(), token or self.operator)
        assert answer.is_ok, (method.full_name, answer)
        return answer_of(method, answer.body)

    def token_of(self, account: str, role: Role | None, scope: Scope) -> str:
        """A token of a new service account, which has this role."""
        self.do(tokens.CreateServiceAccountRequest(name=account))
        if role is not None:
            member, number = f"serviceAccount:{account}", role_pb2.Role.Value(f"ROLE_{role}")
            self.do(access.CreateBindingRequest(scope=scope.name, member=member, role=number))
        return str(self.do(tokens.CreateAccessTokenRequest(service_account=account)).secret)


def answer_of(method: MethodDescriptor, body: bytes) -> Any:
    """The answer's message."""
    return message_factory.GetMessageClass(method.output_type).FromString(body)


def ask(channel: grpc.Channel, path: str, request: bytes, token: str, method: MethodDescriptor | None = None) -> Answer:
    """One call of a method, which answers with bytes; again where a service cannot tell now."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    made: Any = channel.unary_unary(path)
    body, call = b"", None
    for _ in turns():
        try:
            body, call = made.with_call(request, timeout=PATIENCE_S, metadata=metadata)
        except grpc.RpcError as error:
            call = error  # it is the call, too
        if call.code() is not grpc.StatusCode.UNAVAILABLE or decode_failure(call).reason not in NOT_YET:
            break
    assert call is not None
    return Answer(call.code(), body, b"\n".join([body, *_token_in(method, body), *_around(call)]))


def _around(call: Any) -> Iterator[bytes]:
    """What comes with an answer, or in its place."""
    yield (call.details() or "").encode()
    for key, value in (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())):
        yield key.encode()
        yield value if isinstance(value, bytes) else value.encode()


def _token_in(method: MethodDescriptor | None, body: bytes) -> Iterator[bytes]:
    """What a page token has in it."""
    if method is not None and "next_page_token" in method.output_type.fields_by_name:
        token = answer_of(method, body).next_page_token
        yield base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
