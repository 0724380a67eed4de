"""Migrations of BCS, at the URL of its settings."""

from batch_conductor_service.config import load_settings
from batch_conductor_service.implementations.postgres.tables import DATABASE, Base
from service_libs.postgres.migrations import MigrationTarget, run

TARGET = MigrationTarget(metadata=Base.metadata, application_name="bcs-migrate", run_lock=4002_0001)

run(TARGET, DATABASE, load_settings)
