"""The walkthrough names the files through which an event and a question really go."""

from pathlib import Path

from tests.support.house import ROOT, load_house, named_paths

# Before a poll is handled and after Postgres has it; and before the application has a request.
AROUND_THE_EVENT = {
    "service_libs/kafka/consumer.py",
    "service_libs/kafka/record_source.py",
    "batch_conductor_service/kafka_consumer.py",
    "batch_conductor_service/consuming/checkpoints.py",
    "batch_conductor_service/consuming/durability.py",
}
AROUND_THE_QUESTION = {"service_libs/http/connection.py", "service_libs/http/server.py"}


def below_source(paths: list[Path]) -> set[str]:
    return {str(path.relative_to(ROOT / "src")) for path in paths}


async def test_what_the_walkthrough_names_is_what_is_measured(
    redis_url: str, migrated_database_url: str
) -> None:
    journeys = await load_house().measure_journeys(
        {"BCS_REDIS_URL": redis_url, "BCS_DATABASE_URL": migrated_database_url}
    )

    event = below_source(named_paths("The way of one event"))
    question = below_source(named_paths("The way of one question"))
    assert event - set(journeys.event) == AROUND_THE_EVENT
    assert question - set(journeys.question) == AROUND_THE_QUESTION
