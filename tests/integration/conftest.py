"""Databases with our schema, for every test on a real Postgres."""

from tests.support.database import migrated_database_url, migrated_engine

__all__ = ["migrated_database_url", "migrated_engine"]
