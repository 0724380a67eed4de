"""What the commands that look after state refuse before they connect to anything, and how."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from batch_conductor_service.cli import main
from batch_conductor_service.cli.audit import MAX_ROWS, AuditReport
from batch_conductor_service.domain.drift import compare
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import AuditedPage
from common_core.topics import consumed_topics
from service_libs.cli.operating import Output
from service_libs.cli.replay import show_plan, show_result
from service_libs.kafka.replaying import PartitionReplay, ReplayResult
from tests.support.auditing import archived, cached
from tests.support.builders import DAY, essay_names, evidence, update
from tests.support.pipelines import DEPENDENCIES

BATCH = BatchId("batch")
MANY = update("batch", *(evidence(essay) for essay in essay_names(MAX_ROWS + 5)))
COMPARISON = compare(BATCH, cached(MANY), archived(update("batch")), dependencies=DEPENDENCIES)
LOST, WAITING, OTHER = BatchId("lost"), BatchId("waiting"), BatchId("other")
PAGE = AuditedPage(audited=4, unmerged=(LOST, WAITING), unknown=(OTHER,), differing=(COMPARISON,))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", [("audit",), ("audit", "--repair")])
def test_state_in_memory_cannot_be_looked_at(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_ENVIRONMENT", "testing")

    result = run(*command)

    assert result.exit_code == 2
    assert "memory" in result.stderr


def test_without_postgres_there_is_nothing_to_merge_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_POSTGRES_ENABLED", "false")

    result = run("audit", "--repair")

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


def test_a_person_is_shown_the_first_of_many_differences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = AuditReport(Output(is_json=False), is_repair=True)
    report.show(PAGE)
    report.show_repaired(PAGE, AuditedPage(audited=3, unmerged=(WAITING,), differing=(COMPARISON,)))
    report.finish()

    shown = " ".join(capsys.readouterr().out.split())
    assert "Nobody has heard of batch other." in shown
    assert "and 5 more" in shown
    assert "batch differs still." in shown
    assert "waiting is still to be merged" in shown
    assert "3 batches compared; 1 differ; 0 repaired; 2 to be merged" in shown
    assert "; 1 of them merged now; 1 nobody has heard of." in shown


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_json=False)
    output.show("batch [bold]a[/bold] :smile:")
    AuditReport(output, is_repair=False).show(
        AuditedPage(audited=1, differing=(replace(COMPARISON, batch_id=BatchId("[red]b[/red]")),))
    )

    shown = capsys.readouterr().out
    assert "batch [bold]a[/bold] :smile:" in shown
    assert "batch [red]b[/red]" in shown


def test_a_machine_is_given_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    report = AuditReport(Output(is_json=True), is_repair=True)
    report.show(PAGE)
    report.show_repaired(PAGE, AuditedPage(audited=3, unmerged=(WAITING,)))
    report.finish()

    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    unknown, lost, waiting, differs, repaired, merged, summary = lines
    assert unknown == {"type": "unknown", "batch_id": "other"}
    assert lost == {"type": "unmerged", "batch_id": "lost"}
    assert waiting == {"type": "unmerged", "batch_id": "waiting"}
    assert (differs["type"], differs["batch_id"]) == ("differs", "batch")
    assert len(differs["differences"]) == MAX_ROWS + 5
    assert differs["differences"][0] == {
        "place": "postgres",
        "subject": "spellcheck of essay-1, own event",
        "says": None,
        "right": f"completed at {DAY}T12:00:00Z",
        "known_by": "redis",
    }
    assert repaired == {"type": "repaired", "batch_id": "batch"}
    assert merged == {"type": "merged", "batch_id": "lost"}
    assert summary == {
        "type": "summary",
        "audited": 3,
        "differing": 1,
        "unmerged": 2,
        "unknown": 1,
        "repaired": 1,
        "merged": 1,
    }


def test_without_a_repair_nothing_is_said_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    report = AuditReport(Output(is_json=True), is_repair=False)
    report.finish()

    [summary] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (summary["repaired"], summary["merged"]) == (None, None)


@pytest.mark.parametrize(
    ("new", "result", "shown"),
    [
        (None, ReplayResult(is_asked=False), "There is nothing to replay."),
        (3, ReplayResult(is_asked=False), "1 partitions were moved."),
        (3, ReplayResult(is_asked=True), "have rewound 1 partitions"),
        (3, ReplayResult(is_asked=True, waiting=(("t", 0),)), "Not yet rewound: t:0."),
    ],
)
def test_what_came_of_a_replay_is_shown(
    capsys: pytest.CaptureFixture[str], new: int | None, result: ReplayResult, shown: str
) -> None:
    plan = [PartitionReplay(partition=("t", 0), committed=10, new=new)]

    show_result(Output(is_json=False), plan, result)

    assert shown in capsys.readouterr().out


def test_a_replay_that_is_piped_cuts_no_topic(capsys: pytest.CaptureFixture[str]) -> None:
    plan = [
        PartitionReplay(partition=(topic, 11), committed=10**9, new=123_456, note="a note " * 20)
        for topic in consumed_topics()
    ]

    show_plan(Output(is_json=False), plan)

    lines = capsys.readouterr().out.splitlines()
    for topic in consumed_topics():
        [line] = [line for line in lines if f" {topic} " in line]
        assert "123456" in line


def test_a_machine_is_given_a_replay_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_json=True)
    plan = [
        PartitionReplay(partition=("t", 0), committed=10, new=3),
        PartitionReplay(partition=("t", 1), committed=None, new=None, note="nothing is committed"),
    ]
    show_plan(output, plan)
    show_result(output, plan, ReplayResult(is_asked=True, waiting=(("t", 0),)))
    show_result(output, plan, None)

    shown, nothing, summary, rehearsed = map(json.loads, capsys.readouterr().out.splitlines())
    assert shown == {
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
