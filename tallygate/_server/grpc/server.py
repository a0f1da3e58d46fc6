"""A gRPC server as a good citizen: health, reflection, channelz, keepalive, limits, a shutdown that drains."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.error_mapping import Guard, Translate
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.health import HealthServicer
from tallygate._server.grpc.listen import parse_listen, require_free, require_safe
from tallygate._server.grpc.reflection import add_reflection
from tallygate._server.grpc.rpc_counts import RpcCounts
from tallygate._server.grpc.tls import ServerCertificates, ServerTls
from tallygate._server.page_keys import PageKeys

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
_CITIZEN_NAMES: Final = (
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name,
)


class GrpcServer:
    """A grpc.aio server with everything around the servicers themselves.

    `service_names` are the full names of what `add_servicers` adds; health and reflection speak of them.
    `other_health`: names that only health speaks of. `gate`: who may call; everybody without one.
    `page_keys`: what signs the tokens of lists' pages. `rpcs`: where calls are counted.
    `shared_listen`: another address, at which several servers take calls, each of them its part of the connections.
    `tls`: makes all addresses take connections by TLS only, and may add one for callers with certificates.
    `certificates`: those of an earlier server of this program, which were whole where the files are not just now.
    Create it inside a running event loop.
    """

    def __init__(
        self,
        *,
        listen: str,
        insecure: bool,
        service_names: Sequence[str],
        add_servicers: Callable[[grpc.aio.Server], None],
        translate: Translate,
        shared_listen: str = "",
        tls: ServerTls | None = None,
        certificates: ServerCertificates | None = None,
        other_health: Sequence[str] = (),
        max_message_bytes: int = MESSAGE_BYTES_MAX,
        gate: Gate | None = None,
        page_keys: PageKeys | None = None,
        rpcs: RpcCounts | None = None,
    ) -> None:
        """Raises ConfigurationError for a malformed address, an unsafe one without `insecure`, and broken files."""
        self._listen = [address for address in (listen, shared_listen) if address]
        self._mtls_listen = [address for address in (tls.mtls_listen, tls.shared_mtls_listen) if address] if tls else []
        for address in (*self._listen, *self._mtls_listen):
            require_safe(address, insecure=insecure, has_tls=tls is not None)
        self.certificates = certificates or (ServerCertificates(tls) if tls else None)
        self.mtls_address = ""
        """Address for callers with certificates, once it is bound."""
        self._health = HealthServicer([*service_names, *other_health])
        self._server = grpc.aio.server(options=_options(max_message_bytes, shares_port=bool(shared_listen)))
        guard = cast("grpc.aio.Server", Guard(self._server, translate, gate or Gate(), page_keys or PageKeys(), rpcs))
        add_servicers(guard)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guard)
        channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), guard)
        add_reflection(guard, [*service_names, *_CITIZEN_NAMES])

    async def start(self) -> str:
        """Bind and take calls; by health checking the process lives, and nothing is ready until `set_ready`.

        Returns:
            The address really bound, `HOST:PORT`.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        own = [listen[0] for listen in (self._listen, self._mtls_listen) if listen]
        for address in own:
            require_free(address)
        bound = [self._bind(address, verify_clients=False) for address in self._listen]
        bound_mtls = [self._bind(address, verify_clients=True) for address in self._mtls_listen]
        self.mtls_address = next(iter(bound_mtls), "")
        await self._server.start()
        return bound[0]

    def _bind(self, listen: str, *, verify_clients: bool) -> str:
        host, _ = parse_listen(listen)
        try:
            if self.certificates is None:
                port = self._server.add_insecure_port(listen)
            else:
                credentials = self.certificates.credentials(verify_clients=verify_clients)
                port = self._server.add_secure_port(listen, credentials)
        except RuntimeError as error:  # Somebody took it in between.
            raise ConfigurationError(f"Cannot listen on {listen}: {error}") from error
        return f"{host}:{port}"

    def set_ready(self, ready: Mapping[str, bool]) -> None:
        """Say by health checking whether calls of these services will be served."""
        self._health.set_ready(ready)

    @property
    def serving(self) -> Mapping[str, bool]:
        """What health checking says, by name."""
        return self._health.serving

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, refuse new calls, let those in flight finish for so long, then cancel the rest."""
        self._health.close()
        await self._server.stop(grace_s)


def _options(max_message_bytes: int, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Two servers on one port would share its calls between two databases; a port in use shall be an error.
        ("grpc.so_reuseport", int(shares_port)),
        # A dead peer is noticed within 40 s also where no call is open...
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # ... and clients may ask every 10 s; faster ones are sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_channelz", 1),
    ]
