"""gRPC: a module for each service, the interceptor of every call, and the one table from error to google.rpc.Status."""
