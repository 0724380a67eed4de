"""Redis and Postgres against the model, with everything that may happen to either in between."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar, Self, TypeVar
from uuid import uuid4

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_hash import essay_field
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.implementations.redis.summary import (
    SUMMARY,
    CurrentData,
    decode_summary,
)
from batch_conductor_service.models import (
    BatchCompletionSummary,
    BatchId,
    BatchUpdate,
    EssayId,
    StepName,
)
from batch_conductor_service.persisting.codec import decode_update
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisCommand, RedisPolicy
from tests.support.database import open_engine
from tests.support.fuzzing import tries
from tests.support.histories import ESSAYS, STEPS, observations, phase_outcomes, registrations
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import IN_LANES, redis_repository

REQUESTED_TOTALS = (None, 1, 2, 3, 4, 5)
CORRUPT_TEXTS = st.sampled_from(["", "[]", "{", '{"step_metadata": 5}'])

T = TypeVar("T")

sayings = st.one_of(observations, observations, phase_outcomes(), registrations)


class DetachableArchive:
    """Postgres, which may be away."""

    def __init__(self, archive: PostgresBatchStateRepository) -> None:
        self.is_up = True
        self._archive = archive

    async def load_states(self, batch_ids: Sequence[BatchId]) -> Mapping[BatchId, BatchState]:
        if not self.is_up:
            raise StoreUnavailableError
        return await self._archive.load_states(batch_ids)


class World:
    """The servers of all examples, and one event loop: the machine's rules cannot be coroutines."""

    def __init__(self, redis_url: str, database_url: str) -> None:
        self._redis_url = redis_url
        self._database_url = database_url
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()

    def __enter__(self) -> Self:
        self.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._opened.aclose())
        self._runner.close()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Await it."""

        async def wait() -> T:
            return await awaitable

        return self._runner.run(wait())

    async def renew_repositories(self) -> None:
        """Open repositories whose breakers know of no failure, as when time has healed them."""
        await self._repositories.aclose()
        self.watching, self.in_lanes = [
            await self._repositories.enter_async_context(
                redis_repository(self._redis_url, self.archive, policy=policy)
            )
            for policy in (None, IN_LANES)
        ]

    async def _open(self) -> None:
        enter = self._opened.enter_async_context
        self.redis = await enter(Redis.from_url(self._redis_url, decode_responses=True))
        engine = await enter(open_engine(self._database_url))
        self.postgres = PostgresBatchStateRepository(engine, DEPENDENCIES)
        self.archive = DetachableArchive(self.postgres)
        self.queue = RedisPersistenceQueue(
            self._redis_url, RedisPolicy(), worker_name="worker", takeover_seconds=0
        )
        self._opened.push_async_callback(self.queue.close)
        self._repositories = await enter(AsyncExitStack())
        await self.renew_repositories()


class BatchStateMachine(RuleBasedStateMachine):
    """One batch: what Postgres holds, what waits for it, and what a wipe has taken until a replay.

    The model is the evidence of the first two, since nobody can know of the third.
    """

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.batch = BatchId(uuid4().hex)
        self.held = BatchState(self.batch)
        self.waiting: dict[str, BatchUpdate] = {}
        self.lost: list[BatchUpdate] = []
        self.said: list[BatchUpdate] = []

    @initialize()
    def begin(self) -> None:
        self.world.archive.is_up = True
        self.world.run(self.world.redis.flushall())
        self.world.run(self.world.renew_repositories())

    # What neighbours say.

    @rule(said=st.lists(sayings, min_size=1, max_size=3), in_lane=st.booleans())
    def hear(self, said: list[BatchUpdate], *, in_lane: bool) -> None:
        self._apply([replace(one, batch_id=self.batch) for one in said], in_lane=in_lane)

    @rule(one=sayings, other=sayings)
    def hear_two_at_once(self, one: BatchUpdate, other: BatchUpdate) -> None:
        """Two replicas write the batch, one of them contended."""
        one, other = (replace(said, batch_id=self.batch) for said in (one, other))
        watching, in_lanes = self.world.watching.repository, self.world.in_lanes.repository

        async def apply_both() -> tuple[Sequence[str | None], Sequence[str | None]]:
            return await asyncio.gather(watching.apply([one]), in_lanes.apply([other]))

        of_one, of_other = self.world.run(apply_both())
        self._remember([one], of_one)
        self._remember([other], of_other)

    @precondition(lambda self: self.said)
    @rule(data=st.data(), in_lane=st.booleans())
    def hear_again(self, data: st.DataObject, *, in_lane: bool) -> None:
        said = data.draw(st.lists(st.sampled_from(self.said), min_size=1, max_size=4))
        self._apply(said, in_lane=in_lane)

    @precondition(lambda self: self.lost)
    @rule(in_lane=st.booleans())
    def replay_what_was_lost(self, *, in_lane: bool) -> None:
        lost, self.lost = self.lost, []
        self._apply(lost, in_lane=in_lane)

    # What the worker does.

    @precondition(lambda self: self.world.archive.is_up)
    @rule(count=st.integers(1, 3), is_acknowledged=st.booleans())
    def persist(self, count: int, *, is_acknowledged: bool) -> None:
        """Bring a few entries to Postgres; a worker may die before it says so."""
        self.world.run(self._persist(count, is_acknowledged=is_acknowledged))

    @precondition(lambda self: self.world.archive.is_up)
    @rule()
    def drain(self) -> None:
        while self.waiting:
            self.world.run(self._persist(100, is_acknowledged=True))

    # What happens to the stores.

    @rule()
    def wipe_redis(self) -> None:
        self.world.run(self.world.redis.flushall())
        self.lost += self.waiting.values()
        self.waiting.clear()

    @rule(key=st.sampled_from([keys.batch, keys.pipeline_state]))
    def lose_a_key_of_the_batch(self, key: Callable[[BatchId], str]) -> None:
        self.world.run(self.world.redis.delete(key(self.batch)))

    @rule()
    def lose_the_summary(self) -> None:
        self.world.run(self.world.redis.hdel(keys.batch(self.batch), SUMMARY))

    @rule(essay=st.sampled_from(ESSAYS))
    def lose_a_document(self, essay: str) -> None:
        self.world.run(self.world.redis.delete(keys.essay_state(self.batch, EssayId(essay))))

    @rule(essay=st.sampled_from(ESSAYS), text=CORRUPT_TEXTS)
    def corrupt_a_document(self, essay: str, text: str) -> None:
        key = keys.essay_state(self.batch, EssayId(essay))
        self.world.run(self.world.redis.set(key, text, xx=True))

    @rule(essay=st.sampled_from(ESSAYS), text=CORRUPT_TEXTS)
    def corrupt_an_essay(self, essay: str, text: str) -> None:
        self.world.run(self._corrupt(essay_field(EssayId(essay)), text))

    @rule(place=st.integers(0, 9), text=CORRUPT_TEXTS)
    def corrupt_a_report(self, place: int, text: str) -> None:
        fields = self.world.run(self.world.redis.hkeys(keys.batch(self.batch)))
        reports = sorted(name for name in map(str, fields) if name.startswith(("o:", "r:")))
        if reports:
            self.world.run(self._corrupt(reports[place % len(reports)], text))

    @rule(kept=st.sets(st.sampled_from(ESSAYS)))
    def expire(self, kept: set[str]) -> None:
        """The keys of the batch live equally long, a document from when it was last written."""
        documents = [keys.essay_state(self.batch, EssayId(e)) for e in {*ESSAYS} - kept]
        own = keys.batch(self.batch), keys.pipeline_state(self.batch)
        self.world.run(self.world.redis.unlink(*own, *documents))

    @rule()
    def restart_redis(self) -> None:
        """To the batch, another run of the server is all that a restart is."""
        key = keys.batch(self.batch)
        if text := self.world.run(self.world.redis.hget(key, SUMMARY)):
            earlier = re.sub('"server_run":"[^"]+"', '"server_run":"an earlier one"', str(text))
            self.world.run(self.world.redis.hset(key, SUMMARY, earlier))

    @precondition(lambda self: self.world.archive.is_up)
    @rule()
    def lose_postgres(self) -> None:
        self.world.archive.is_up = False

    @precondition(lambda self: not self.world.archive.is_up)
    @rule()
    def bring_postgres_back(self) -> None:
        self.world.archive.is_up = True
        self.world.run(self.world.renew_repositories())

    # What is answered.

    @rule()
    def ask(self) -> None:
        reading = self.world.run(self.world.watching.repository.get_summary(self.batch))

        self._find_what_a_question_queued()
        self._check(reading.summary)
        assert reading.summary.is_whole or self.waiting or not self.world.archive.is_up

    @precondition(lambda self: self.world.archive.is_up and not self.waiting)
    @rule()
    def ask_for_essays(self) -> None:
        essays = self.world.run(self.world.watching.repository.get_state(self.batch)).essays()

        assert list(essays) == self.known().essays()

    @invariant()
    def what_redis_alone_would_answer_is_true(self) -> None:
        """Asking would repair the batch, so this looks at what an answer would be made from."""
        asked: list[RedisCommand] = [
            ("HGET", keys.batch(self.batch), SUMMARY),
            ("EXISTS", keys.earlier_summary(self.batch)),
        ]
        reading = self.world.run(self.world.watching.client.read(asked))
        text, has_earlier = reading.replies
        assert not has_earlier
        current = CurrentData(server_run=reading.server_run, dependencies=DEPENDENCIES)
        summary = current.find_summary(decode_summary(text))
        if summary is not None:
            self._check(summary)

    def teardown(self) -> None:
        """After everything has healed and was replayed, all that was ever said is known."""
        if not self.world.archive.is_up:
            self.bring_postgres_back()
        if self.lost:
            self.replay_what_was_lost(in_lane=False)
        self.drain()
        everything = BatchState(self.batch)
        for said in self.said:
            everything.merge(said)

        assert self.known().summarise(DEPENDENCIES) == everything.summarise(DEPENDENCIES)
        self.ask()
        self.ask_for_essays()

    def known(self) -> BatchState:
        """Return what follows from all that is not lost."""
        known = BatchState(self.batch)
        for said in (self.held.as_update(), *self.waiting.values()):
            known.merge(said)
        return known

    def _apply(self, said: Sequence[BatchUpdate], *, in_lane: bool) -> None:
        setup = self.world.in_lanes if in_lane else self.world.watching
        self._remember(said, self.world.run(setup.repository.apply(said)))

    def _remember(self, said: Sequence[BatchUpdate], receipts: Sequence[str | None]) -> None:
        self.said += said
        for one, receipt in zip(said, receipts, strict=True):
            assert receipt
            self.waiting[receipt] = one

    def _find_what_a_question_queued(self) -> None:
        """Documents that outlived their batch are queued once more; they say nothing new."""
        everything = BatchState(self.batch)
        for said in self.said:
            everything.merge(said)
        known = everything.as_update()
        entries: Any = self.world.run(self.world.redis.xrange(keys.PERSISTENCE_QUEUE))
        for entry_id, fields in entries:
            if entry_id not in self.waiting:
                self.waiting[entry_id] = queued = decode_update(fields["update"].encode())
                everything.merge(queued)
                assert everything.as_update() == known

    async def _corrupt(self, field: str, text: str) -> None:
        key = keys.batch(self.batch)
        if await self.world.redis.hexists(key, field):
            await self.world.redis.hset(key, field, text)

    async def _persist(self, count: int, *, is_acknowledged: bool) -> None:
        entries = await self.world.queue.read(count, block_seconds=0)
        await self.world.postgres.apply([entry.update for entry in entries if entry.update])
        for entry in entries:
            self.held.merge(self.waiting[entry.entry_id])
        if is_acknowledged:
            await self.world.queue.acknowledge([entry.entry_id for entry in entries])
            for entry in entries:
                del self.waiting[entry.entry_id]

    def _check(self, summary: BatchCompletionSummary) -> None:
        """Check that what is called whole is all that is known, and that no green is false."""
        known = self.known().summarise(DEPENDENCIES)
        if summary.is_whole:
            assert summary == known
        for step, total in product(map(StepName, STEPS), REQUESTED_TOTALS):
            if judge_step(summary, step, total).is_complete:
                assert judge_step(known, step, total).is_complete


def test_nothing_that_happens_to_the_stores_makes_a_false_green_or_loses_evidence(
    redis_url: str, migrated_database_url: str
) -> None:
    """A failure shows its steps as they were found: to shrink them takes longer than a test may."""
    with World(redis_url, migrated_database_url) as world:
        BatchStateMachine.world = world
        run_state_machine_as_test(
            BatchStateMachine,
            settings=settings(
                tries(25), stateful_step_count=25, phases=set(Phase) - {Phase.shrink}
            ),
        )
