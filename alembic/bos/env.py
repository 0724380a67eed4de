"""Migrations of BOS, in a schema of its own, at the URL of its settings."""

from alembic import context
from batch_orchestrator_service.config import load_settings
from batch_orchestrator_service.implementations.postgres.engine import SETTING, database_address
from batch_orchestrator_service.implementations.postgres.tables import SCHEMA, Base
from service_libs.postgres.address import read_address
from service_libs.postgres.migrations import MigrationTarget, run

TARGET = MigrationTarget(
    metadata=Base.metadata,
    application_name="bos-migrate",
    run_lock=5000_0002,
    schema=SCHEMA,
)

given: str | None = context.config.attributes.get("database_url")
run(TARGET, read_address(given, setting=SETTING) if given else database_address(load_settings()))
