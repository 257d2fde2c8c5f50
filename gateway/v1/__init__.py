"""Generated from protos/gateway/v1 by `make generate`; never edited."""
