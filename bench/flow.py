"""Measure the flow: from a command on Kafka to the first phase, and how many runs a second.

Both services run as processes, on real servers and over the whole path: the broker, BOS with its
tables and outbox, BCS with Redis and Postgres. Three figures are taken, one after the other:

- latency: from the acknowledgement of a command to the first phase command on Kafka, at a steady
  rate; what is read back here has a client's own wait for the broker in it,
- throughput: as many runs as are asked for at once, each from its command to its completion,
- latency once more, beside many runs that stay open.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from common_core.topics import EventName, topic_name
from local_stack.flow_neighbours import COMPLETED, OWNER
from local_stack.neighbours import COMMAND_TOPICS, Neighbours
from local_stack.ports import find_free_port
from local_stack.service import ServiceProcess
from local_stack.stack import temporary_stack

REQUESTS = topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)
OUTCOMES = topic_name(EventName.ELS_BATCH_PHASE_OUTCOME)
SETTLED_SECONDS = 30.0


class Players:
    """The client and ELS: commands are answered at once, unless they are to stay open."""

    def __init__(self, bootstrap_servers: str, essays: int) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=2)
        self._consumer = AIOKafkaConsumer(
            *COMMAND_TOPICS,
            COMPLETED,
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            fetch_max_wait_ms=10,
        )
        self._essays = [f"essay-{number:03}" for number in range(essays)]
        self.are_answering = True
        self.acknowledged: dict[str, float] = {}
        self.commanded: dict[str, float] = {}
        self.completed: dict[str, float] = {}

    async def start(self) -> None:
        """Connect, and listen."""
        await self._producer.start()
        await self._consumer.start()
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Disconnect."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def make_ready(self, batches: list[str]) -> None:
        """Register the batches, and say that their texts are there."""
        for batch in batches:
            registered = {
                "event": "batch.essays.registered",
                "entity_id": batch,
                "expected_essay_count": len(self._essays),
                "essay_ids": self._essays,
                "course_code": "ENG5",
                "user_id": OWNER,
                "class_id": "class-1",
            }
            ready = {
                "event": "batch.essays.ready",
                "batch_id": batch,
                "ready_essays": [
                    {"essay_id": one, "text_storage_id": f"original-{one}"} for one in self._essays
                ],
                "course_code": "ENG5",
                "course_language": "en",
                "class_type": "REGULAR",
            }
            _ = await self._send(EventName.BATCH_ESSAYS_REGISTERED, batch, registered)
            _ = await self._send(EventName.BATCH_ESSAYS_READY, batch, ready)
        await self._producer.flush()

    async def request(self, batch: str) -> None:
        """Ask for a pipeline of two phases, and note when the broker has it."""
        data = {
            "batch_id": batch,
            "requested_pipeline": "nlp",
            "client_correlation_id": str(uuid4()),
            "user_id": OWNER,
            "is_retry": False,
            "request_id": str(uuid4()),
        }
        acknowledged = await self._send(EventName.CLIENT_BATCH_PIPELINE_REQUEST, batch, data)
        await acknowledged
        self.acknowledged[batch] = time.monotonic()

    async def _listen(self) -> None:
        async for record in self._consumer:
            envelope = json.loads(record.value)
            now = time.monotonic()
            if record.topic == COMPLETED:
                self.completed[envelope["data"]["batch_id"]] = now
                continue
            self.commanded.setdefault(envelope["data"]["entity_id"], now)
            if self.are_answering:
                await self._answer(COMMAND_TOPICS[record.topic], envelope)

    async def _answer(self, phase: str, command: dict[str, Any]) -> None:
        batch = command["data"]["entity_id"]
        essays = [one["essay_id"] for one in command["data"]["essays_to_process"]]
        outcome = {
            "batch_id": batch,
            "phase_name": phase,
            "phase_status": "completed_successfully",
            "processed_essays": [
                {"essay_id": one, "text_storage_id": f"{phase}-{one}"} for one in essays
            ],
            "failed_essay_ids": [],
            "correlation_id": command["correlation_id"],
        }
        correlation = command["correlation_id"]
        _ = await self._send(EventName.ELS_BATCH_PHASE_OUTCOME, batch, outcome, correlation)

    async def _send(
        self, event: EventName, batch: str, data: dict[str, Any], correlation: str | None = None
    ) -> asyncio.Future[object]:
        envelope = {
            "event_id": str(uuid4()),
            "event_type": event.value,
            "event_timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "source_service": "bench",
            "schema_version": 1,
            "correlation_id": correlation or str(uuid4()),
            "data": data,
        }
        value = json.dumps(envelope).encode()
        sent: asyncio.Future[object] = await self._producer.send(
            topic_name(event), value, key=batch.encode()
        )
        return sent


async def until(what: str, counted: dict[str, float], batches: list[str], seconds: float) -> None:
    """Wait until all batches are counted.

    Raises:
        TimeoutError: they are not within that time; the message says how many are.
    """
    end = time.monotonic() + seconds
    while missing := [one for one in batches if one not in counted]:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(missing)} of {len(batches)} were not {what}.")
        await asyncio.sleep(0.05)


async def measure_latency(players: Players, name: str, rate: float, seconds: float) -> None:
    """Ask at a steady rate, whatever the answers take, and print the quantiles."""
    batches = [f"{name}-{uuid4().hex[:8]}" for _ in range(int(rate * seconds))]
    await players.make_ready(batches)
    await asyncio.sleep(5)
    start = time.monotonic()
    asking = []
    for number, batch in enumerate(batches):
        await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        asking.append(asyncio.create_task(players.request(batch)))
    await asyncio.gather(*asking)
    await until("commanded", players.commanded, batches, SETTLED_SECONDS)
    waits = sorted(players.commanded[one] - players.acknowledged[one] for one in batches)
    p99 = waits[int(len(waits) * 0.99)]
    print(
        f"{name}: {len(batches)} commands at {rate:g}/s: first phase after "
        f"p50 {statistics.median(waits) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, "
        f"worst {waits[-1] * 1000:.0f} ms"
    )


async def measure_throughput(players: Players, runs: int) -> None:
    """Ask for all at once, and print how many runs were completed in a second."""
    batches = [f"flood-{uuid4().hex[:8]}" for _ in range(runs)]
    await players.make_ready(batches)
    await asyncio.sleep(5)
    start = time.monotonic()
    await asyncio.gather(*(players.request(batch) for batch in batches))
    await until("completed", players.completed, batches, runs / 5 + SETTLED_SECONDS)
    seconds = max(players.completed[one] for one in batches) - start
    print(f"throughput: {runs} runs of two phases in {seconds:.1f} s: {runs / seconds:.1f} runs/s")


async def open_runs(players: Players, runs: int) -> None:
    """Have that many runs wait for an outcome."""
    batches = [f"open-{uuid4().hex[:8]}" for _ in range(runs)]
    players.are_answering = False
    start = time.monotonic()
    await players.make_ready(batches)
    await asyncio.gather(*(players.request(batch) for batch in batches))
    await until("commanded", players.commanded, batches, runs / 5 + SETTLED_SECONDS)
    print(f"opened: {runs} runs in {time.monotonic() - start:.1f} s, which stay open")
    players.are_answering = True


async def measure(arguments: argparse.Namespace, kafka: str) -> None:
    """Take the figures."""
    players = Players(kafka, arguments.essays)
    await players.start()
    try:
        await measure_latency(players, "warming", arguments.rate, 5)
        await measure_latency(players, "latency", arguments.rate, arguments.seconds)
        await measure_throughput(players, arguments.runs)
        await open_runs(players, arguments.open)
        await measure_latency(players, "beside", arguments.rate, arguments.seconds)
    finally:
        await players.stop()


@contextmanager
def services(arguments: argparse.Namespace) -> Iterator[str]:
    """Run the servers and both services; give the broker."""
    with temporary_stack() as stack:
        settings = stack.settings()
        kafka = arguments.kafka or stack.kafka.bootstrap_servers
        for prefix in ("BCS", "BOS"):
            settings[f"{prefix}_KAFKA_BOOTSTRAP_SERVERS"] = kafka
            settings[f"{prefix}_LOG_LEVEL"] = "WARNING"
            if arguments.kafka:
                settings[f"{prefix}_KAFKA_ENABLE_IDEMPOTENCE"] = "true"
        asyncio.run(Neighbours.create_topics(kafka))
        bcs = ServiceProcess("bcs", stack.directory, settings, port=find_free_port())
        settings |= {"BOS_BCS_BASE_URL": bcs.client.url}
        bos = ServiceProcess("bos", stack.directory, settings, port=find_free_port())
        for service in (bcs, bos):
            service.migrate()
        try:
            bcs.start()
            bos.start()
            yield kafka
        finally:
            bos.stop()
            bcs.stop()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--essays", type=int, default=30, help="essays of a batch")
    parser.add_argument("--kafka", help="a broker of your own (else one from wheels)")
    parser.add_argument("--open", type=int, default=10_000, help="runs that stay open")
    parser.add_argument("--rate", type=float, default=20, help="commands a second")
    parser.add_argument("--runs", type=int, default=1_500, help="runs asked for at once")
    parser.add_argument("--seconds", type=float, default=30, help="how long to ask at the rate")
    arguments = parser.parse_args()
    with services(arguments) as kafka:
        asyncio.run(measure(arguments, kafka))
    return 0


if __name__ == "__main__":
    sys.exit(main())
