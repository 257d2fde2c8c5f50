"""The store on PostgreSQL: any number of gateway processes on one database."""

from gateway.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
