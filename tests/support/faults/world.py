"""One run: servers, neighbours and onlookers together; and what must hold at its end."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from batch_conductor_service.models import BatchId
from tests.support.builders import RecordedEvent
from tests.support.faults.clients import PIPELINES, Answer, Caller, Relay, open_relay
from tests.support.faults.journal import Journal
from tests.support.faults.looking import Onlooker, open_onlooker
from tests.support.faults.model import Model, evidence_of
from tests.support.faults.servers import FaultServers, Member
from tests.support.pipelines import DEPENDENCIES, service_catalog

RECORD = os.environ.get("FAULT_RECORD")  # a file; a line for each time that every promise held

SURE_SECONDS = 30  # longest wait for an answer that is not degraded


@dataclass(kw_only=True)
class World:
    """Everything that a test of faults works with."""

    servers: FaultServers
    model: Model
    journal: Journal
    relay: Relay
    caller: Caller
    onlooker: Onlooker
    dead_letters_before: int
    records_before: int
    expects_dead_letters: bool = False
    recovery_seconds: float = 0
    recovered: int = 0
    fired: list[str] = field(default_factory=list)

    @property
    def member(self) -> Member:
        """The process of the service that always runs."""
        return self.servers.members[0]

    @property
    def other_member(self) -> Member:
        """The process that comes and goes."""
        return self.servers.members[1]

    def note_fired(self, fault: str, **fields: object) -> None:
        """Note that the fault really happened."""
        self.journal.note("fault", fault=fault, **fields)
        self.fired.append(fault)

    async def consumer_state(self) -> str:
        """Return what the consumer says it is doing."""
        return str((await self.caller.ask_health(self.member.address))["consumer"]["state"])

    async def send_and_settle(self, events: Sequence[RecordedEvent]) -> None:
        """Send the events and return when all of them are held everywhere."""
        await self.relay.send(events)
        await self.onlooker.wait_until_quiet()
        self.model.settle()

    @asynccontextmanager
    async def asking(self, random: Random) -> AsyncIterator[None]:
        """Have somebody ask all the time."""
        asks = asyncio.create_task(self.caller.ask_until_cancelled(random))
        try:
            yield
        finally:
            asks.cancel()
            with suppress(asyncio.CancelledError):
                await asks

    async def ask_everything(self) -> None:
        """Ask about every batch once, and hold each answer against the model."""
        for batch in self.model.batches:
            for pipeline in PIPELINES:
                await self.caller.ask(batch, pipeline, self.member.address)

    async def recover(self) -> None:
        """Heal everything, and measure how long it takes until all is held and answers are sure."""
        await self.servers.heal()
        started = time.monotonic()
        await self.servers.run(self.member.start)
        await self.onlooker.wait_until_quiet()
        for batch in self.model.batches[:1]:
            await self._ask_until_sure(batch, PIPELINES[0])
        self.recovery_seconds = time.monotonic() - started
        self.journal.note("recovered", seconds=round(self.recovery_seconds, 2))
        self.model.settle()

    async def recover_and_check(self) -> None:
        """Heal, and hold every promise against what is there.

        Raises:
            AssertionError: one was broken; the trace is in the journal.
        """
        await self.recover()
        await self.check()
        self._record()

    def _record(self) -> None:
        """Append what was tried, and held, to the file that the report is made from."""
        if RECORD is None:
            return
        line = {
            "test": self.journal.path.parent.name,
            "faults": self.fired,
            "events": self.journal.counts["acknowledged"],
            "unknown": self.journal.counts["unknown"],
            "recovered": self.recovered,
            "answers": self.caller.statuses,
            "recovery_seconds": round(self.recovery_seconds, 2),
        }
        with Path(RECORD).open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def check(self) -> None:
        """Hold every promise against what is there, nothing being on its way any more."""
        assert self.caller.false_greens == []
        await self._check_sent()
        batches = self.model.batches
        await self._check_persisted(batches)
        for batch in batches:
            await self._check_answers(batch)
            await self._check_cached(batch)
        dead = await self.onlooker.count_dead_letters() - self.dead_letters_before
        assert dead == 0 or self.expects_dead_letters, f"{dead} records were dead-lettered"

    async def _check_sent(self) -> None:
        """Count what arrived though its send was given up: each of these events came twice."""
        held = await self.onlooker.count_records() - self.records_before
        self.recovered = (
            held - self.journal.counts["acknowledged"] - self.journal.counts["nonsense"]
        )
        assert self.recovered >= 0, "Kafka lost what it had acknowledged"

    async def _check_persisted(self, batches: list[BatchId]) -> None:
        persisted = await self.onlooker.load_persisted(batches)
        expected, found = (
            evidence_of(self.model.state(batch) for batch in batches),
            evidence_of(persisted.values()),
        )
        assert expected - found == set(), "lost"
        assert found - expected == set(), "unexpected"
        counts = {
            (batch, step): (known.completed, known.failed)
            for batch in batches
            for step, known in self.model.state(batch).summarise(DEPENDENCIES).steps.items()
        }
        assert await self.onlooker.load_counts(batches) == counts, "counted otherwise"

    async def _check_answers(self, batch: BatchId) -> None:
        for pipeline in PIPELINES:
            answer = await self._ask_until_sure(batch, pipeline)
            assert answer.skipped == self.model.skipped(batch, pipeline), (batch, pipeline)

    async def _ask_until_sure(self, batch: BatchId, pipeline: str) -> Answer:
        """Return an answer from Redis again; breakers take a moment to close."""
        async with asyncio.timeout(SURE_SECONDS):
            while True:
                answer = await self.caller.ask(batch, pipeline, self.member.address)
                if answer is not None and not answer.is_degraded:
                    return answer
                await asyncio.sleep(0.1)

    async def _check_cached(self, batch: BatchId) -> None:
        state = self.model.state(batch)
        summary, essays, counts = await self.onlooker.load_cached(batch)
        expected = state.summarise(DEPENDENCIES)
        assert summary == expected, f"Redis has another summary of {batch}"
        assert essays == state.essays(), f"Redis has other essays of {batch}"
        completed = {step: known.completed for step, known in expected.steps.items()}
        assert {step: counts.get(step, 0) for step in completed} == completed


@asynccontextmanager
async def open_world(servers: FaultServers, journal_path: Path) -> AsyncIterator[World]:
    """Give a world in which everything runs; add its trace when the test fails."""
    await servers.heal()
    await servers.run(servers.members[0].reset)
    model, journal = Model(service_catalog()), Journal(journal_path)
    caller = Caller([servers.members[0].address], model, journal)
    try:
        async with (
            open_onlooker(servers) as onlooker,
            open_relay(servers.kafka.bootstrap_servers, model, journal) as relay,
        ):
            world = World(
                servers=servers,
                model=model,
                journal=journal,
                relay=relay,
                caller=caller,
                onlooker=onlooker,
                dead_letters_before=await onlooker.count_dead_letters(),
                records_before=await onlooker.count_records(),
            )
            try:
                yield world
            except BaseException as exc:
                exc.add_note(f"{journal.trace()}\nThe whole trace: {journal.path}")
                raise
    finally:
        await caller.close()
        await servers.heal()
