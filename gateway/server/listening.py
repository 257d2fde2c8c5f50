"""The gRPC listener of a server process, on a port or on a Unix socket."""

from gateway.config import GrpcSettings, Listen, UnixSocket
from gateway.rpc.server import RpcServer
from gateway.server.tls import Certificates


async def listen_grpc(server: RpcServer, settings: GrpcSettings, certificates: Certificates) -> Listen | UnixSocket:
    """Serve at the configured address. Returns it with the chosen port. Raises CannotListen and OSError."""
    tls = certificates.for_rpc(settings, server)
    match settings.listen:
        case UnixSocket(path=path) as unix_socket:
            await server.start_on_socket(path, tls)
            return unix_socket
        case Listen(host=host, port=port):
            return Listen(host, await server.start(host, port, tls))
