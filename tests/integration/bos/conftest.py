"""A database with BOS's schema."""

from tests.support.bos_database import bos_database_url, bos_engine

__all__ = ["bos_database_url", "bos_engine"]
