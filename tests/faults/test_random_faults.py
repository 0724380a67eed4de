import pytest

from tests.support.faults.trials import SEED, TRIALS, run_trial
from tests.support.faults.world import World


@pytest.mark.parametrize("seed", range(SEED, SEED + TRIALS))
async def test_random_faults_lose_nothing_and_prune_nothing_unproven(
    world: World, seed: int
) -> None:
    await run_trial(world, seed)
