"""gRPC: a module a service, interceptors, and the one table from failure to google.rpc.Status."""
