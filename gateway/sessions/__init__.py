"""Closing sessions at providers: execution, idempotency and the state of each provider."""
