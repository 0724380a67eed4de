"""Migrations of BCS, at the URL of its settings."""

from alembic import context
from batch_conductor_service.config import load_settings
from batch_conductor_service.implementations.postgres.engine import SETTING, database_address
from batch_conductor_service.implementations.postgres.tables import Base
from service_libs.postgres.address import read_address
from service_libs.postgres.migrations import MigrationTarget, run

TARGET = MigrationTarget(metadata=Base.metadata, application_name="bcs-migrate", run_lock=4002_0001)

given: str | None = context.config.attributes.get("database_url")
run(TARGET, read_address(given, setting=SETTING) if given else database_address(load_settings()))
