"""Topics that tests share."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def ensure_topics(servers: str, *topics: str, partitions: int = 3) -> None:
    """Create those topics that are not there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        known = await admin.list_topics()
        await admin.create_topics(
            [NewTopic(topic, partitions, 1) for topic in topics if topic not in known]
        )
    finally:
        await admin.close()
