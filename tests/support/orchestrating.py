"""A batch's runs, driven step by step, with everything that was sent kept in a journal."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from batch_orchestrator_service.domain import accepting, advancing, registering, resolving
from batch_orchestrator_service.domain.advancing import Command, Completion, Effect, Outcome, Step
from batch_orchestrator_service.domain.models import Batch, BatchState, Phase, Prompt, Request, Run
from batch_orchestrator_service.domain.registering import Registration
from batch_orchestrator_service.domain.states import PhaseStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAMES = UUID("3f2c1b60-2d3c-4a0e-9a55-6b2a5f1d7a10")
DEPENDS_ON = {
    "spellcheck": (),
    "nlp": ("spellcheck",),
    "cj_assessment": ("spellcheck",),
    "ai_feedback": ("spellcheck", "nlp"),
}
PIPELINES = {
    "spellcheck": ("spellcheck",),
    "ai_feedback": ("spellcheck", "nlp", "ai_feedback"),
    "nlp": ("spellcheck", "nlp"),
    "cj_assessment": ("spellcheck", "cj_assessment"),
    "comprehensive": ("spellcheck", "cj_assessment", "nlp", "ai_feedback"),
}
LEASE = timedelta(seconds=40)


def named(text: str) -> UUID:
    """Return the UUID of a name."""
    return uuid5(NAMES, text)


def batch_of(*essays: str, is_ready: bool = True, **changes: object) -> Batch:
    """Return a batch of these essays, whose original texts are `original-<essay>`."""
    batch = Batch(
        batch_id="batch-1",
        user_id="teacher",
        course_code="ENG5",
        expected=len(essays),
        is_guest=False,
        texts={essay: f"original-{essay}" for essay in essays} if is_ready else {},
        has_ready_essays=is_ready,
    )
    return replace(batch, **changes)  # type: ignore[arg-type] # a test names what it changes


def empty() -> BatchState:
    """Return a batch that nobody has said anything of."""
    return BatchState(batch_id="batch-1", batch=Batch(batch_id="batch-1"))


def registration_of(
    *essays: str, user: str = "teacher", expected: int | None = None
) -> Registration:
    """Return the registration of a class's batch."""
    count = len(essays) if expected is None else expected
    return Registration(user_id=user, course_code="ENG5", expected=count, is_guest=False)


def request(
    name: str = "click",
    pipeline: str = "nlp",
    *,
    user: str = "teacher",
    correlation: str = "",
    is_retry: bool = False,
    body: str = "",
) -> Request:
    """Return a click; clicks of one name have one id."""
    return Request(
        request_id=named(name),
        batch_id="batch-1",
        pipeline=pipeline,
        user_id=user,
        correlation_id=named(correlation or name),
        fingerprint=body or f"{pipeline}-{is_retry}",
        is_retry=is_retry,
        prompt=Prompt(),
    )


def planned(
    pipeline: str = "nlp",
    *,
    skipping: tuple[str, ...] = (),
    pending: dict[str, frozenset[str]] | None = None,
) -> list[Phase]:
    """Return the phases of a pipeline as BCS says them, some of them pruned."""
    return [
        Phase(
            name=name,
            status=(
                PhaseStatus.SKIPPED_BY_USER_CONFIG
                if name in skipping
                else PhaseStatus.PENDING_DEPENDENCIES
            ),
            event_type=f"command.{name}",
            depends_on=DEPENDS_ON[name],
            skip_reason="already_completed" if name in skipping else None,
            pending=(pending or {}).get(name),
        )
        for name in PIPELINES[pipeline]
    ]


@dataclass
class Bench:
    """One batch. Whatever is done to it adds what it sends to the journal."""

    state: BatchState = field(default_factory=empty)
    now: datetime = NOON
    sent: list[Command | Completion] = field(default_factory=list)

    @classmethod
    def ready(cls, *essays: str) -> "Bench":
        """Return a bench whose batch has these essays and is ready."""
        return cls(BatchState(batch_id="batch-1", batch=batch_of(*(essays or ("e1", "e2")))))

    def click(self, one: Request) -> accepting.Accepted:
        """Take a request in."""
        accepted = accepting.accept(self.state, one, self.now)
        self.state = accepted.state
        return accepted

    def register(self, *essays: str, expected: int | None = None) -> list[Run]:
        """Have the batch registered; return the runs of strangers."""
        said = registration_of(*essays, expected=expected)
        self.state, strange = registering.register(self.state, said, self.now)
        return strange

    def make_ready(self, *essays: str) -> None:
        """Have the essays of the batch there."""
        texts = {essay: f"original-{essay}" for essay in essays}
        self.state = registering.take_ready_essays(self.state, texts, self.now)

    def begin(self) -> Run | None:
        """Open the next run, if there is one to be resolved."""
        self.state, run = resolving.begin(self.state, self.now, LEASE)
        return run

    def plan(self, run: Run, phases: list[Phase]) -> None:
        """Store what BCS said."""
        self._take(advancing.start(self.state, run, phases, self.now, self._deadline))

    def run_to(self, pipeline: str = "nlp", **plan: object) -> Run:
        """Click, resolve and plan; return the run."""
        self.click(request(pipeline, pipeline))
        run = self.begin()
        assert run is not None
        self.plan(run, planned(pipeline, **plan))  # type: ignore[arg-type] # passed on as they are
        return self.run_of(run)

    def run_of(self, run: Run) -> Run:
        """Return the run as it is now."""
        found = self.state.find_run(run.run_id)
        assert found is not None
        return found

    def report(
        self,
        run: Run,
        phase: str,
        *processed: str,
        status: str = "completed_successfully",
    ) -> Effect:
        """Take the outcome of a phase in; the texts that it made are `<phase>-<essay>`."""
        outcome = Outcome(
            correlation_id=run.correlation_id,
            phase=phase,
            status=status,
            processed={essay: f"{phase}-{essay}" for essay in processed},
        )
        step, effect = advancing.take_outcome(self.state, outcome, self.now, self._deadline)
        self._take(step)
        return effect

    def cancel(self, run: Run) -> None:
        """End a run."""
        self._take(advancing.cancel(self.state, run, self.now))

    @property
    def commands(self) -> list[Command]:
        """The commands that were sent."""
        return [one for one in self.sent if isinstance(one, Command)]

    @property
    def completions(self) -> list[Completion]:
        """The ends that were told."""
        return [one for one in self.sent if isinstance(one, Completion)]

    def _take(self, step: Step) -> None:
        self.state = step.state
        self.sent.extend(step.messages)

    def _deadline(self, _phase: str) -> timedelta:
        return timedelta(hours=1)
