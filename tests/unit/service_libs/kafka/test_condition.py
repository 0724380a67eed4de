import pytest

from service_libs.kafka.condition import RUN_OF_TROUBLES_SECONDS, ConditionRecorder, ConsumerState
from tests.support.clocks import SettableClock


class Recorder(ConditionRecorder):
    """A recorder in a time that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0.0
        self.shown: list[ConsumerState] = []
        monkeypatch.setattr("time.monotonic", lambda: self.passed)
        super().__init__(SettableClock(), self.shown.append)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def settle(recorder: Recorder, *, has_partitions: bool = True) -> None:
    if recorder.current.state is ConsumerState.STOPPED:
        recorder.enter(ConsumerState.CONNECTING)
    recorder.note_assignment(is_settled=True, has_partitions=has_partitions)


def test_trying_again_and_again_is_one_trouble(recorder: Recorder) -> None:
    for _ in range(10):
        recorder.enter(ConsumerState.CONNECTING)
        recorder.passed += 2
        recorder.enter(ConsumerState.JOINING)
        recorder.passed += 2

    assert recorder.current.unwell_seconds == 40
    assert recorder.current.age_seconds == 2


def test_who_consumes_is_well(recorder: Recorder) -> None:
    recorder.enter(ConsumerState.CONNECTING)
    recorder.passed += 40

    settle(recorder)

    assert recorder.current.state is ConsumerState.CONSUMING
    assert recorder.current.unwell_seconds == 0


def test_who_stands_by_is_well(recorder: Recorder) -> None:
    settle(recorder, has_partitions=False)

    assert recorder.current.state is ConsumerState.STANDBY
    assert recorder.current.unwell_seconds == 0


def test_who_loses_the_connection_again_and_again_is_not(recorder: Recorder) -> None:
    for _ in range(10):
        settle(recorder)
        recorder.passed += 4
        recorder.note_trouble("No right.")
        recorder.enter(ConsumerState.CONNECTING)
    settle(recorder)

    assert recorder.current.unwell_seconds == 36
    assert recorder.current.trouble == "No right."


def test_a_trouble_of_some_time_ago_is_forgotten(recorder: Recorder) -> None:
    for _ in range(10):
        recorder.passed += 4
        recorder.note_trouble("No right.")
    settle(recorder)

    recorder.passed += RUN_OF_TROUBLES_SECONDS

    assert recorder.current.unwell_seconds == 0


@pytest.mark.parametrize(
    "state", [ConsumerState.PAUSED, ConsumerState.WAITING, ConsumerState.HALTED]
)
def test_an_assignment_ends_no_pause(recorder: Recorder, state: ConsumerState) -> None:
    recorder.enter(state)

    settle(recorder)

    assert recorder.current.state is state


def test_every_change_is_shown(recorder: Recorder) -> None:
    recorder.enter(ConsumerState.CONNECTING)
    recorder.note_assignment(is_settled=False, has_partitions=False)
    settle(recorder)
    settle(recorder)

    assert recorder.shown == ["stopped", "connecting", "joining", "consuming"]
