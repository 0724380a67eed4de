"""What happens to Kafka."""

from tests.support.faults import proxy
from tests.support.faults.harm import kill_for, lose_replies, reset_for, silence_for, stop_for
from tests.support.faults.world import World


async def kafka_killed(world: World, seconds: float) -> None:
    """Killed; comes back with its log."""
    await kill_for(world, "kafka", seconds)


async def kafka_stopped(world: World, seconds: float) -> None:
    """Stands still; longer than a session, the members are thrown out."""
    await stop_for(world, "kafka", seconds)


async def kafka_reset(world: World, seconds: float) -> None:
    """Every connection is reset, again and again."""
    await reset_for(world, "kafka", seconds)


async def kafka_silent(world: World, seconds: float) -> None:
    """Half-open connections."""
    await silence_for(world, "kafka", seconds)


async def kafka_commits_lost(world: World, seconds: float) -> None:
    """Commits offsets and does not say so."""
    await lose_replies(world, "kafka", proxy.kafka_offset_commit, seconds)
