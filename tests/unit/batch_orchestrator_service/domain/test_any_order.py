"""Whatever comes in whatever order: one run at a time, one phase at a time, nothing moves back.

The judge knows the journal of what was sent and of which outcomes were said, and no rule of ours.
"""

from collections import Counter
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batch_orchestrator_service.domain import resolving
from batch_orchestrator_service.domain.models import Run
from batch_orchestrator_service.domain.states import RejectionReason, RunState
from tests.support.orchestrating import DEPENDS_ON, PIPELINES, Bench, planned, request

ESSAYS = ("e1", "e2", "e3")
# A run only ever goes from one of these to a later one, or waits again for an answer of BCS.
ORDER = {"accepted": 0, "resolving": 0, "running": 1}


class AnyOrder(RuleBasedStateMachine):
    """One batch, three users' clicks, and outcomes as a broken neighbour would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.resolving: list[Run] = []
        self.said: list[tuple[object, str, frozenset[str], str, int]] = []
        self.seen: dict[object, RunState] = {}

    @rule(
        name=st.sampled_from("abcdef"),
        pipeline=st.sampled_from(sorted(PIPELINES)),
        user=st.sampled_from(["teacher", "teacher", "stranger"]),
        is_retry=st.booleans(),
    )
    def click(self, name: str, pipeline: str, user: str, *, is_retry: bool) -> None:
        self.bench.click(request(name, pipeline, user=user, correlation="x", is_retry=is_retry))

    @rule(expected=st.integers(3, 4))
    def register(self, expected: int) -> None:
        self.bench.register(*ESSAYS, expected=expected)

    @rule()
    def make_ready(self) -> None:
        self.bench.make_ready(*ESSAYS)

    @rule()
    def begin(self) -> None:
        if run := self.bench.begin():
            self.resolving.append(run)

    @precondition(lambda self: self.resolving)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """BCS answers, perhaps after the lease, when another resolver has the run."""
        run = self.resolving.pop(data.draw(st.integers(0, len(self.resolving) - 1)))
        run = self.bench.run_of(run)
        if run.state is not RunState.RESOLVING:
            return  # as the store finds under the lock of the batch
        match data.draw(st.sampled_from(["plan", "plan", "plan", "away", "unknown"])):
            case "away":
                now = self.bench.now
                self.bench.state = resolving.postpone(self.bench.state, run, now, now)
            case "unknown":
                reason = RejectionReason.UNKNOWN_PIPELINE
                self.bench.state = resolving.reject(self.bench.state, run, reason, self.bench.now)
            case _:
                names = PIPELINES[run.pipeline]
                skipping = names[: data.draw(st.integers(0, len(names)))]
                ids = st.none() | st.frozensets(st.sampled_from(ESSAYS))
                pending = {name: data.draw(ids) for name in names}
                known = {name: some for name, some in pending.items() if some is not None}
                self.bench.plan(run, planned(run.pipeline, skipping=skipping, pending=known))

    @precondition(lambda self: self.bench.state.runs)
    @rule(
        data=st.data(),
        processed=st.frozensets(st.sampled_from([*ESSAYS, "stranger"])),
        status=st.sampled_from(
            [
                "completed_successfully",
                "completed_with_failures",
                "failed_critically",
                "in_progress",
            ]
        ),
    )
    def report(self, data: st.DataObject, processed: frozenset[str], status: str) -> None:
        run = data.draw(st.sampled_from(self.bench.state.runs))
        phase = data.draw(st.sampled_from(sorted(DEPENDS_ON)))
        self.said.append((run.correlation_id, phase, processed, status, len(self.bench.sent)))
        self.bench.report(run, phase, *processed, status=status)

    @precondition(lambda self: any(not run.state.has_ended for run in self.bench.state.runs))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        lasting = [run for run in self.bench.state.runs if not run.state.has_ended]
        self.bench.cancel(data.draw(st.sampled_from(lasting)))

    @rule(minutes=st.sampled_from([1, 5, 11]))
    def wait(self, minutes: int) -> None:
        self.bench.now += timedelta(minutes=minutes)

    @invariant()
    def one_run_is_open_and_one_phase_is_awaited(self) -> None:
        opened = [run for run in self.bench.state.runs if run.state.is_open]
        awaited = [p for run in opened for p in run.phases if p.status.is_dispatched]
        assert len(opened) <= 1
        assert len(awaited) == (1 if opened and opened[0].state is RunState.RUNNING else 0)

    @invariant()
    def only_the_run_that_is_next_is_looked_at_and_there_always_is_one(self) -> None:
        state = self.bench.state
        timed = [run for run in state.runs if run.next_try_at is not None]
        opened = state.open_run
        if opened is None:
            assert timed == state.waiting[:1]
        else:
            assert timed == ([opened] if opened.state is RunState.RESOLVING else [])

    @invariant()
    def nothing_moves_back(self) -> None:
        for run in self.bench.state.runs:
            before = self.seen.get(run.run_id, RunState.ACCEPTED)
            assert ORDER.get(run.state, 2) >= ORDER.get(before, 2)
            if before.has_ended:
                assert run.state is before
            self.seen[run.run_id] = run.state

    @invariant()
    def a_phase_is_commanded_once_and_after_the_outcomes_of_all_before_it(self) -> None:
        places = Counter((one.run.run_id, one.phase.name) for one in self.bench.commands)
        assert all(count == 1 for count in places.values())
        commanded: dict[object, list[tuple[str, int]]] = {}
        for index, message in enumerate(self.bench.sent):
            if message not in self.bench.commands:
                continue
            earlier = commanded.setdefault(message.run.run_id, [])
            for name, _ in earlier:
                assert any(
                    said[:2] == (message.run.correlation_id, name) and said[4] <= index
                    for said in self.said
                ), "a phase was commanded before the outcome of the one before it"
            earlier.append((message.phase.name, index))

    @invariant()
    def the_texts_are_right(self) -> None:
        for command in self.bench.commands:
            kind = "spellcheck" if "spellcheck" in DEPENDS_ON[command.phase.name] else "original"
            assert command.texts
            assert all(text == f"{kind}-{essay}" for essay, text in command.texts.items())

    @invariant()
    def every_end_is_told_once(self) -> None:
        told = Counter(one.run.run_id for one in self.bench.completions)
        ended = {
            run.run_id
            for run in self.bench.state.runs
            if run.state.has_ended and run.state is not RunState.REJECTED
        }
        assert told == Counter(ended) or set(told) >= ended
        assert all(count == 1 for count in told.values())


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40)
