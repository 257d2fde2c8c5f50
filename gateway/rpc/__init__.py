"""gRPC: a module a service, what stands around each call, and the one table from failure to google.rpc.Status."""
