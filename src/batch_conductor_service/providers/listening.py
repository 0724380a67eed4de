"""What says whether the service listens: freshness, the lag, and what health says of both."""

from collections.abc import AsyncIterator

from dishka import AnyOf, Provider, Scope, provide

from batch_conductor_service.config import Settings
from batch_conductor_service.consuming.broker_watch import BrokerWatch
from batch_conductor_service.consuming.group_freshness import FreshnessExchange, GroupFreshness
from batch_conductor_service.implementations.kafka.broker_look import KafkaBrokerLook
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.operating.progress import (
    ConsumerProgress,
    FreshnessProgress,
    TopicProgress,
)
from batch_conductor_service.protocols import FreshnessBoardProtocol, FreshnessProtocol
from batch_conductor_service.providers.policies import WATCH_TIMEOUT_SECONDS
from service_libs.protocols import BackgroundTaskProtocol, ClockProtocol, ProgressProtocol


class ListeningProvider(Provider):
    """Beside the consumer, and whatever becomes of it."""

    scope = Scope.APP

    @provide
    def progress(self, consumer: EventConsumer, freshness: GroupFreshness) -> ProgressProtocol:
        return ConsumerProgress(consumer, freshness)

    @provide
    def topic_progress(self, watch: BrokerWatch) -> ProgressProtocol:
        return TopicProgress(watch)

    @provide
    def freshness_progress(self, freshness: GroupFreshness) -> ProgressProtocol:
        return FreshnessProgress(freshness)

    @provide(provides=AnyOf[GroupFreshness, FreshnessProtocol])
    def freshness(self, clock: ClockProtocol, settings: Settings) -> GroupFreshness:
        return GroupFreshness(clock, max_staleness_seconds=settings.max_staleness_seconds)

    @provide
    def exchange(
        self,
        consumer: EventConsumer,
        board: FreshnessBoardProtocol,
        freshness: GroupFreshness,
        metrics: Metrics,
    ) -> BackgroundTaskProtocol:
        return FreshnessExchange(consumer, board, freshness, metrics.freshness_age.set)

    @provide
    async def broker_look(
        self, settings: Settings, clock: ClockProtocol
    ) -> AsyncIterator[KafkaBrokerLook]:
        look = KafkaBrokerLook(
            settings.kafka_bootstrap_servers,
            settings.kafka_consumer_group_id,
            clock,
            timeout_seconds=min(WATCH_TIMEOUT_SECONDS, settings.kafka_request_timeout_seconds),
        )
        yield look
        await look.close()

    @provide(provides=AnyOf[BrokerWatch, BackgroundTaskProtocol])
    def watch(
        self,
        look: KafkaBrokerLook,
        metrics: Metrics,
        clock: ClockProtocol,
        freshness: GroupFreshness,
    ) -> BrokerWatch:
        return BrokerWatch(look, metrics, clock, freshness.note_look)
