"""A second front end for the services: gRPC over HTTP/2 on asyncio's own transports, for unary calls and streams."""
