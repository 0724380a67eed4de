import pytest

from tests.support.faults.loads import break_under_load
from tests.support.faults.nemesis import FAULTS
from tests.support.faults.world import World

SECONDS = 2.5


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_under_load_loses_nothing_and_prunes_nothing_unproven(
    world: World, fault: str
) -> None:
    await break_under_load(world, FAULTS[fault](world, SECONDS))

    await world.recover_and_check()

    assert fault in world.fired
