"""Migrations of BOS, in a schema of its own, at the URL of its settings."""

from batch_orchestrator_service.config import load_settings
from batch_orchestrator_service.implementations.postgres.tables import DATABASE, SCHEMA, Base
from service_libs.postgres.migrations import MigrationTarget, run

TARGET = MigrationTarget(
    metadata=Base.metadata,
    application_name="bos-migrate",
    run_lock=5000_0002,
    schema=SCHEMA,
)

run(TARGET, DATABASE, load_settings)
