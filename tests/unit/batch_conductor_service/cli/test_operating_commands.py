"""What the commands that look after state refuse before they connect to anything, and how."""

import json

import pytest
from click.testing import CliRunner, Result

from batch_conductor_service.cli import main
from batch_conductor_service.cli.audit_report import MAX_ROWS, JsonReport, TableReport
from batch_conductor_service.cli.rebuild_report import rebuild_report
from batch_conductor_service.cli.replay_report import JsonReplayReport, TableReplayReport
from batch_conductor_service.domain.drift import compare
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import AuditedPage
from batch_conductor_service.operating.repairing import RebuiltPage
from batch_conductor_service.operating.replaying import PartitionReplay, ReplayResult
from common_core.topics import consumed_topics
from tests.support.auditing import archived, cached
from tests.support.builders import DAY, essay_names, evidence, update
from tests.support.pipelines import DEPENDENCIES

BATCH = BatchId("batch")
MANY = update("batch", *(evidence(essay) for essay in essay_names(MAX_ROWS + 5)))
COMPARISON = compare(BATCH, cached(MANY), archived(update("batch")), dependencies=DEPENDENCIES)
PAGE = AuditedPage(audited=3, doubted=1, unknown=(BatchId("other"),), differing=(COMPARISON,))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", [("audit",), ("audit", "--repair"), ("rebuild",)])
def test_state_in_memory_cannot_be_looked_at(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_ENVIRONMENT", "testing")

    result = run(*command)

    assert result.exit_code == 2
    assert "memory" in result.stderr


@pytest.mark.parametrize("command", [("audit", "--repair"), ("rebuild",)])
def test_without_postgres_there_is_nothing_to_merge_with(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_POSTGRES_ENABLED", "false")

    result = run(*command)

    assert result.exit_code == 2
    assert "BCS_POSTGRES_ENABLED is false" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--from-offset", "t:0"),
        ("--from-offset", "t:0:x"),
        ("--from-time", "yesterday"),
        ("--from-offset", "t:0:1", "--from-time", "2025-06-01T12:00:00"),
        ("--from-offset", "t:0:1", "--topic", "t"),
    ],
)
def test_a_replay_needs_one_place_to_begin(arguments: tuple[str, ...]) -> None:
    assert run("replay", *arguments).exit_code == 2


def test_a_person_is_told_the_first_of_many_differences(capsys: pytest.CaptureFixture[str]) -> None:
    report = TableReport()
    report.show(PAGE)
    report.show_repaired([COMPARISON], [COMPARISON])
    report.finish()

    told = " ".join(capsys.readouterr().out.split())
    assert "Nobody has heard of batch other." in told
    assert "and 5 more" in told
    assert "batch differs still." in told
    assert "2 batches compared; 1 differ; 0 repaired; 1 to be merged" in told
    assert "1 nobody has heard of." in told


def test_a_machine_is_told_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    report = JsonReport()
    report.show(PAGE)
    report.show_repaired([COMPARISON], [])
    report.finish()

    unknown, differs, repaired, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert unknown == {"type": "unknown", "batch_id": "other"}
    assert len(differs["differences"]) == MAX_ROWS + 5
    assert differs["differences"][0] == {
        "place": "postgres",
        "subject": "spellcheck of essay-1, own event",
        "says": None,
        "right": f"completed at {DAY}T12:00:00Z",
        "known_by": "redis",
    }
    assert repaired == {"type": "repaired", "batch_id": "batch"}
    assert (summary["audited"], summary["doubted"], summary["repaired"]) == (2, 1, 1)
    assert summary["unknown"] == 1


@pytest.mark.parametrize(
    ("new", "result", "told"),
    [
        (None, ReplayResult(is_asked=False), "There is nothing to replay."),
        (3, ReplayResult(is_asked=False), "1 partitions were moved."),
        (3, ReplayResult(is_asked=True), "have rewound 1 partitions"),
        (3, ReplayResult(is_asked=True, waiting=(("t", 0),)), "Not yet rewound: t:0."),
    ],
)
def test_what_came_of_a_replay_is_told(
    capsys: pytest.CaptureFixture[str], new: int | None, result: ReplayResult, told: str
) -> None:
    plan = [PartitionReplay(partition=("t", 0), committed=10, new=new)]

    TableReplayReport().show_result(plan, result)

    assert told in capsys.readouterr().out


def test_a_replay_that_is_piped_names_topics_whole(capsys: pytest.CaptureFixture[str]) -> None:
    plan = [
        PartitionReplay(partition=(topic, 11), committed=10**9, new=123_456, note="a note " * 20)
        for topic in consumed_topics()
    ]

    TableReplayReport().show_plan(plan)

    lines = capsys.readouterr().out.splitlines()
    for topic in consumed_topics():
        [line] = [line for line in lines if f" {topic} " in line]
        assert "123456" in line


def test_a_machine_is_told_of_a_replay_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = JsonReplayReport()
    plan = [
        PartitionReplay(partition=("t", 0), committed=10, new=3),
        PartitionReplay(partition=("t", 1), committed=None, new=None, note="nothing is committed"),
    ]
    report.show_plan(plan)
    report.show_result(plan, ReplayResult(is_asked=True, waiting=(("t", 0),)))
    report.show_result(plan, None)

    told, nothing, summary, rehearsed = map(json.loads, capsys.readouterr().out.splitlines())
    assert told == {
        "type": "partition",
        "topic": "t",
        "partition": 0,
        "committed": 10,
        "new_offset": 3,
        "records": 7,
        "note": None,
    }
    assert (nothing["new_offset"], nothing["note"]) == (None, "nothing is committed")
    assert summary == {
        "type": "summary",
        "applied": True,
        "members_asked": True,
        "partitions": 1,
        "records": 7,
        "waiting": ["t:0"],
    }
    assert (rehearsed["applied"], rehearsed["members_asked"]) == (False, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from-time", "2025-06-01T12:00:00", "--topic", "no.such.topic"),
        ("--from-offset", "no.such.topic:0:1"),
    ],
)
def test_a_topic_that_nobody_consumes_is_no_place_to_replay(arguments: tuple[str, ...]) -> None:
    result = run("replay", *arguments)

    assert result.exit_code == 2
    assert "'no.such.topic' is no topic that is consumed." in result.stderr


def test_what_came_of_a_rebuild_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    pages = [RebuiltPage(made_whole=2, left=()), RebuiltPage(made_whole=1, left=(BATCH,))]
    for is_json in (False, True):
        with rebuild_report(is_json=is_json) as report:
            for page in pages:
                report.show(page)
        report.finish(is_applied=False)
        assert report.left == 1

    told, changed, *lines = capsys.readouterr().out.splitlines()
    assert told == "3 batches are whole already; 1 are not in Redis, or in doubt."
    assert "Nothing was changed" in changed
    assert list(map(json.loads, lines)) == [
        {"type": "not_whole", "batch_id": "batch"},
        {"type": "summary", "applied": False, "whole": 3, "not_whole": 1},
    ]
