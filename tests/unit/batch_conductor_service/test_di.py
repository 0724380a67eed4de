from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from dishka import AsyncContainer

from batch_conductor_service import protocols
from batch_conductor_service.api.pipelines import QuestionHandler
from batch_conductor_service.config import Settings
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.startup_setup import build_container, check_configuration
from service_libs.exceptions import PipelineConfigurationError, SettingsError
from service_libs.health import HealthMonitor
from service_libs.protocols import (
    BackgroundTaskProtocol,
    ClockProtocol,
    DlqProducerProtocol,
    HealthProbeProtocol,
)
from service_libs.settings import Environment
from service_libs.supervisor import Supervisor

PIPELINES = Path(__file__).parents[3] / "pipelines.yaml"

ALWAYS_THERE = (
    protocols.BatchStateRepositoryProtocol,
    ClockProtocol,
    DlqProducerProtocol,
    protocols.PersistenceQueueProtocol | None,
    protocols.PipelineGeneratorProtocol,
    protocols.ResolutionAnnouncerProtocol,
    protocols.SkipEventPublisherProtocol,
    Sequence[BackgroundTaskProtocol],
    Sequence[HealthProbeProtocol],
    HealthMonitor,
    PipelineCatalog,
    QuestionHandler,
    Supervisor,
)


def container(**values: object) -> AsyncContainer:
    settings = Settings.model_validate({"pipeline_config_path": PIPELINES} | values)
    return build_container(settings)


@pytest.mark.parametrize(
    ("environment", "env_type", "use_mock_repository", "postgres_enabled"),
    list(product(Environment, ["", "docker"], [False, True], [False, True])),
)
async def test_every_port_resolves_in_every_environment(
    environment: Environment, env_type: str, *, use_mock_repository: bool, postgres_enabled: bool
) -> None:
    made = container(
        environment=environment,
        env_type=env_type,
        use_mock_repository=use_mock_repository,
        postgres_enabled=postgres_enabled,
    )

    for port in ALWAYS_THERE:
        await made.get(port)

    await made.close()


LISTENING = ("freshness", "broker_watch")


@pytest.mark.parametrize(
    ("values", "repository", "tasks", "probes"),
    [
        (
            {"environment": "production"},
            RedisCachedBatchStateRepositoryImpl,
            [
                "consumer",
                *LISTENING,
                "unarchived_sweeper",
                "persistence_worker",
                "retention",
                "drift_sampler",
                "announcer",
            ],
            {"redis", "kafka", "postgresql"},
        ),
        (
            {"environment": "testing", "env_type": "docker"},
            RedisCachedBatchStateRepositoryImpl,
            [
                "consumer",
                *LISTENING,
                "unarchived_sweeper",
                "persistence_worker",
                "retention",
                "drift_sampler",
                "announcer",
            ],
            {"redis", "kafka", "postgresql"},
        ),
        (
            {"environment": "production", "postgres_enabled": False},
            RedisCachedBatchStateRepositoryImpl,
            ["consumer", *LISTENING, "announcer"],
            {"redis", "kafka"},
        ),
        (
            {"environment": "development", "use_mock_repository": True},
            MockBatchStateRepositoryImpl,
            ["consumer", *LISTENING, "announcer"],
            {"kafka"},
        ),
        ({"environment": "testing"}, MockBatchStateRepositoryImpl, ["announcer"], set()),
    ],
)
async def test_the_settings_choose_the_implementations(
    values: dict[str, object], repository: type, tasks: list[str], probes: set[str]
) -> None:
    """The order of the tasks is the order in which they stop."""
    made = container(**values)

    assert type(await made.get(protocols.BatchStateRepositoryProtocol)) is repository
    assert list((await made.get(Supervisor)).statuses()) == tasks
    assert set((await made.get(HealthMonitor)).dependencies) == probes
    await made.close()


async def test_making_everything_connects_to_nothing() -> None:
    """Dependencies that are down must not keep the service from starting."""
    made = container(
        redis_url="redis://127.0.0.1:1",
        database_url="postgresql+asyncpg://u:p@127.0.0.1:1/db",
        kafka_bootstrap_servers="127.0.0.1:1",
    )

    await check_configuration(made)

    await made.close()


async def test_one_use_has_one_announcer() -> None:
    """What a request announces must reach the task that publishes it."""
    made = container(environment="testing")

    announcer = await made.get(protocols.ResolutionAnnouncerProtocol)

    assert announcer in await made.get(Sequence[BackgroundTaskProtocol])
    await made.close()


@pytest.mark.parametrize(
    ("setting", "value"), [("redis_url", "http://s3cret"), ("database_url", "s3cret")]
)
async def test_a_bad_address_is_named_without_its_value(setting: str, value: str) -> None:
    made = container(**{setting: value})

    with pytest.raises(SettingsError, match=f"BCS_{setting.upper()}") as raised:
        await check_configuration(made)

    assert "s3cret" not in str(raised.value)
    await made.close()


async def test_a_missing_pipeline_file_stops_the_start() -> None:
    made = container(environment="testing", pipeline_config_path=Path("nowhere.yaml"))

    with pytest.raises(PipelineConfigurationError, match=r"nowhere\.yaml"):
        await check_configuration(made)
    await made.close()
