"""Whether Kafka answers."""

from service_libs.kafka.producer import KafkaProducerClient


class KafkaProbe:
    """Asks a broker for metadata over the producer's connection."""

    name = "kafka"

    def __init__(self, producer: KafkaProducerClient) -> None:
        self._producer = producer

    async def ping(self) -> None:
        await self._producer.ping()
