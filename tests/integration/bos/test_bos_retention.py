"""What is old is deleted; what waits, runs, or is not sent stays, however old it is."""

from datetime import timedelta

from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.domain.advancing import Effect, Outcome
from batch_orchestrator_service.domain.models import BatchState
from batch_orchestrator_service.events.messages import to_outgoing
from batch_orchestrator_service.implementations.postgres.outbox import PostgresOutbox
from batch_orchestrator_service.implementations.postgres.retention import PostgresOldRecords
from batch_orchestrator_service.implementations.postgres.runs import PostgresRunStore
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.operating.retention import Retention
from batch_orchestrator_service.protocols import AuditEntry, UnusedOutcome
from service_libs.retention import RetentionPolicy
from service_libs.timing import SystemClock
from tests.support.orchestrating import NOON, Bench, named, request

DAYS = 30
TABLES = (
    "audit",
    "batch_essays",
    "batches",
    "outbox",
    "phase_outputs",
    "phase_runs",
    "pipeline_runs",
    "run_requests",
    "unused_outcomes",
)


async def keep(engine: AsyncEngine, bench: Bench) -> None:
    """Write all that the bench has, as a handler would, with an entry in each kind of notes."""
    outcome = Outcome(correlation_id=named("x"), phase="nlp", status="other", processed={})
    async with PostgresRunStore(engine, SystemClock()).lock("batch-1") as batch:
        await batch.save(
            bench.state,
            [to_outgoing(one, bench.state.batch, NOON) for one in bench.sent],
            [AuditEntry(request=request(), decision=Decision.NEW_RUN, run_id=None)],
            [UnusedOutcome(outcome=outcome, effect=Effect.FOREIGN)],
        )


async def make_older(engine: AsyncEngine, days: int) -> None:
    """Have everything happened so many days earlier."""
    columns = {
        "pipeline_runs": "ended_at",
        "batches": "said_at",
        "audit": "at",
        "unused_outcomes": "at",
    }
    async with engine.begin() as connection:
        for table, column in columns.items():
            move = (
                f"UPDATE bos.{table} SET {column} = now() - CAST(:age AS interval)"  # noqa: S608 - ours
                f" WHERE {column} IS NOT NULL"
            )
            await connection.execute(text(move), {"age": timedelta(days=days)})


async def send_all(engine: AsyncEngine) -> None:
    async with PostgresOutbox(engine).lead() as lease:
        assert lease is not None
        waiting = await lease.read(100, after=0)
        await lease.mark_sent([one.message_id for one in waiting], SystemClock().now())


async def sweep(engine: AsyncEngine, days: int = DAYS) -> CollectorRegistry:
    """Delete what is old."""
    registry = CollectorRegistry()
    policy = RetentionPolicy(days=days, at_a_time=2, pause_seconds=0)
    await Retention(policy, PostgresOldRecords(engine), Metrics(registry)).sweep()
    return registry


async def left_in(engine: AsyncEngine) -> dict[str, int]:
    """Return how many rows each table has, of those that have any."""
    async with engine.connect() as connection:
        counts = {
            table: (
                await connection.execute(text(f"SELECT count(*) FROM bos.{table}"))  # noqa: S608 - ours
            ).scalar_one()
            for table in TABLES
        }
    return {table: count for table, count in counts.items() if count}


def ended() -> Bench:
    """Return a batch whose only run has ended."""
    bench = Bench.ready("e1")
    run = bench.run_to("nlp")
    bench.report(run, "spellcheck", "e1")
    bench.report(run, "nlp", "e1")
    return bench


async def test_a_batch_whose_runs_ended_long_ago_goes_with_all_that_is_its(
    bos_engine: AsyncEngine,
) -> None:
    await keep(bos_engine, ended())
    await send_all(bos_engine)
    assert set(await left_in(bos_engine)) == set(TABLES)
    await make_older(bos_engine, DAYS + 1)

    registry = await sweep(bos_engine)

    assert await left_in(bos_engine) == {}
    values = [
        registry.get_sample_value("bos_deleted_total", {"kind": kind})
        for kind in ("runs", "batches", "notes")
    ]
    assert values == [1, 1, 2]


async def test_nothing_younger_goes_and_nothing_at_all_where_it_is_switched_off(
    bos_engine: AsyncEngine,
) -> None:
    await keep(bos_engine, ended())
    await send_all(bos_engine)
    await make_older(bos_engine, DAYS - 1)
    before = await left_in(bos_engine)

    await sweep(bos_engine)
    assert await left_in(bos_engine) == before
    await make_older(bos_engine, DAYS + 1)
    await sweep(bos_engine, days=0)

    assert await left_in(bos_engine) == before


async def test_a_run_that_is_open_and_one_that_waits_stay_and_their_batch_with_them(
    bos_engine: AsyncEngine,
) -> None:
    bench = ended()
    bench.run_to("cj_assessment", skipping=("spellcheck",))
    bench.click(request("waiting", "ai_feedback"))
    await keep(bos_engine, bench)
    await send_all(bos_engine)
    await make_older(bos_engine, DAYS + 1)

    await sweep(bos_engine)

    state = await read(bos_engine)
    assert [run.pipeline for run in state.runs] == ["cj_assessment", "ai_feedback"]
    assert state.batch == bench.state.batch
    assert state.outputs == bench.state.outputs
    assert set(state.fingerprints) == {named("cj_assessment"), named("waiting")}


async def test_a_run_whose_end_is_not_sent_stays(bos_engine: AsyncEngine) -> None:
    await keep(bos_engine, ended())
    await make_older(bos_engine, DAYS + 1)

    await sweep(bos_engine)

    assert len((await read(bos_engine)).runs) == 1
    assert (await left_in(bos_engine))["outbox"] == 3


async def test_a_batch_that_somebody_works_on_is_left_for_the_next_time(
    bos_engine: AsyncEngine,
) -> None:
    await keep(bos_engine, ended())
    await send_all(bos_engine)
    await make_older(bos_engine, DAYS + 1)

    async with PostgresRunStore(bos_engine, SystemClock()).lock("batch-1"):
        await sweep(bos_engine)
    assert len((await read(bos_engine)).runs) == 1
    await sweep(bos_engine)

    assert await left_in(bos_engine) == {}


async def read(engine: AsyncEngine) -> BatchState:
    state = await PostgresRunStore(engine, SystemClock()).find_state("batch-1")
    assert state is not None
    return state
