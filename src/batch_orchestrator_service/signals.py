"""How the parts of one process tell each other that there is something to do.

They only save time: what is missed, or was saved by another process, is found by the next look.
"""

from dataclasses import dataclass, field

from batch_orchestrator_service.domain.models import BatchState
from batch_orchestrator_service.domain.states import RunState
from service_libs.timing import Wakeups


@dataclass(frozen=True, slots=True)
class Signals:
    """What the resolver and the relay are woken by, once a transaction is committed.

    Attributes:
        due: a run is to be looked at.
        unsent: a message is to be sent.
    """

    due: Wakeups = field(default_factory=Wakeups)
    unsent: Wakeups = field(default_factory=Wakeups)

    def tell_saved(self, state: BatchState, *, has_messages: bool) -> None:
        """Wake whom the saved state of a batch concerns."""
        # Due at once is what is next and not held: the rest comes with a look.
        if any(run.next_try_at and run.state is RunState.ACCEPTED for run in state.runs):
            self.due.wake()
        if has_messages:
            self.unsent.wake()
