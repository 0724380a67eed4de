import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.implementations.yaml_files.pipelines import DefaultPipelineGenerator
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchCompletionSummary, BatchId
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from service_libs.exceptions import PipelineConfigurationError
from service_libs.pipeline_file.documents import UnreadableDocumentError, read_document
from service_libs.pipeline_file.reading import MAX_FILE_BYTES
from tests.support.pipelines import layered, service_catalog

STEP = "{name: %s, service_name: s, event_type: e, event_data_model: m, depends_on: [%s]}"


def pipeline_text(pipelines: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """Return a file with one line for each pipeline and one for each step."""
    lines = ["pipelines:"]
    for name, needs in pipelines.items():
        lines += [f"  {name}:", "    steps:"]
        lines += [f"      - {STEP % (step, ', '.join(on))}" for step, on in needs.items()]
    return "\n".join(lines)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pipelines.yaml"


def load(file: Path, content: str | bytes) -> PipelineCatalog:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return DefaultPipelineGenerator(file).load()


def faults_of(file: Path, content: str | bytes) -> list[str]:
    with pytest.raises(PipelineConfigurationError) as caught:
        load(file, content)
    return caught.value.faults


def test_the_pipelines_of_the_service_are_those_of_the_contract() -> None:
    spellcheck, nlp = ("spellcheck", ()), ("nlp", ("spellcheck",))
    cj_assessment = ("cj_assessment", ("spellcheck",))
    ai_feedback = ("ai_feedback", ("spellcheck", "nlp"))

    pipelines = service_catalog().pipelines

    assert {
        name: [(step.name, step.depends_on) for step in pipeline.steps]
        for name, pipeline in pipelines.items()
    } == {
        "ai_feedback": [spellcheck, nlp, ai_feedback],
        "cj_assessment": [spellcheck, cj_assessment],
        "nlp": [spellcheck, nlp],
        "comprehensive": [spellcheck, cj_assessment, nlp, ai_feedback],
    }


def test_the_steps_of_the_service_are_those_of_the_contract() -> None:
    steps = {step for p in service_catalog().pipelines.values() for step in p.steps}

    assert {(s.name, s.service_name, s.event_type, s.event_data_model) for s in steps} == {
        (
            "spellcheck",
            "spellchecker_service",
            "huleedu.els.spellcheck.initiate.command.v1",
            "BatchServiceSpellcheckInitiateCommandDataV1",
        ),
        (
            "nlp",
            "nlp_service",
            "huleedu.batch.nlp.initiate.command.v2",
            "BatchServiceNLPInitiateCommandDataV2",
        ),
        (
            "ai_feedback",
            "ai_feedback_service",
            "huleedu.batch.ai_feedback.initiate.command.v1",
            "BatchServiceAIFeedbackInitiateCommandDataV1",
        ),
        (
            "cj_assessment",
            "cj_assessment_service",
            "huleedu.batch.cj_assessment.initiate.command.v1",
            "BatchServiceCJAssessmentInitiateCommandDataV1",
        ),
    }


def test_a_scalar_is_a_text_whatever_it_looks_like(file: Path) -> None:
    catalog = load(file, pipeline_text({"no": {"2025": [], "1.0": ["2025"]}}))

    assert [step.name for step in catalog.pipelines["no"].ordered] == ["2025", "1.0"]


BAD_FILE = """\
pipelines:
  one:
    description: [5]
    step: []
    steps:
      - name: a
        service_name: s
        event_type: e
        event_data_model: m
        depends_on: [b]
      - name: b
        service_name: ""
        event_type: e
        depends_on: [a, ghost, ~]
      - name: b
        service_name: s
        event_type: e
        event_data_model: m
      - service_name: s
  two:
    steps: []
  "b d":
    steps:
      - name: b
        service_name: s
        event_type: e
        event_data_model: m
        depends_on: {}
      - name: "x:y"
        name: c
        service_name: s
        event_type: [x]
        event_data_model: m
        depends_on: [self]
      - name: self
        service_name: s
        event_type: e
        event_data_model: m
        depends_on: [self]
      - text
version: 3
"""


def test_all_faults_are_named_at_once_each_with_its_place(file: Path) -> None:
    disagreement = "depends on [] here, and on [a, ghost] in pipeline 'one' on line 11"
    name_rule = "a name has 1 to 100 letters, digits or . _ ~ @ + = -"

    assert faults_of(file, BAD_FILE) == [
        "line 3: pipeline 'one', description: expected a text",
        "line 4: pipeline 'one': unknown key 'step'",
        "line 6: pipeline 'one': cycle: a -> b -> a",
        "line 11: pipeline 'one', step 'b': missing key 'event_data_model'",
        "line 12: pipeline 'one', step 'b', service_name: expected a text that is not empty",
        "line 14: pipeline 'one', step 'b', depends_on, item 3: expected a text",
        "line 14: pipeline 'one', step 'b': unknown dependency 'ghost'",
        "line 15: pipeline 'one': step 'b' stands already on line 11",
        "line 19: pipeline 'one', step number 4: missing key 'event_data_model'",
        "line 19: pipeline 'one', step number 4: missing key 'event_type'",
        "line 19: pipeline 'one', step number 4: missing key 'name'",
        "line 21: pipeline 'two': the pipeline has no steps",
        f"line 22: pipeline 'b d': {name_rule}",
        f"line 24: pipeline 'b d', step 'b': {disagreement}",
        "line 28: pipeline 'b d', step 'b', depends_on: expected a list",
        f"line 29: pipeline 'b d', step 'x:y', name: {name_rule}",
        "line 30: key 'name' stands already on line 29",
        "line 32: pipeline 'b d', step 'x:y', event_type: expected a text",
        "line 35: pipeline 'b d': cycle: self -> self",
        "line 40: pipeline 'b d', step number 4: expected a mapping",
        "line 41: unknown key 'version'",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "line 1: the file is empty"),
        ("# only a comment", "line 1: the file is empty"),
        ("text", "line 1: expected a mapping"),
        ("- list", "line 1: expected a mapping"),
        ("{}", "line 1: missing key 'pipelines'"),
        ("pipelines:", "line 1: pipelines: expected a mapping"),
        ("pipelines: {}", "line 1: the file has no pipelines"),
        ("pipelines: {a: }", "line 1: pipeline 'a': expected a mapping"),
        ("pipelines: {a: {steps: }}", "line 1: pipeline 'a', steps: expected a list"),
        ("pipelines: {a: {}}", "line 1: pipeline 'a': missing key 'steps'"),
        ("pipelines:\n  a: [", "line 3: not YAML: did not find expected node content"),
        (
            "pipelines: 1\n\tx: 2",
            "line 2: not YAML: found a tab character that violates indentation",
        ),
        ("a: \x01", "line 1: not YAML: it has characters that YAML forbids"),
        ("--- {}\n--- {}", "line 2: a second document"),
        ("? [a]\n: b", "line 1: a key must be a text"),
        ("a:\n  ~: b", "line 2: a key must be a text"),
        ("a:\n  b: !!python/name:os.system x", "line 2: tags are not allowed"),
        ("a: {b: 1,\n  b: 2}", "line 2: key 'b' stands already on line 1"),
        (b"pipelines:\n\xff", "line 2: the file is not UTF-8"),
        ("[" * 100_000, "line 1: nested too deep"),
        ("- " * 100_000, "line 1: nested too deep"),
        ("{a: " * 100_000, "line 1: nested too deep"),
    ],
)
def test_a_file_of_another_kind_is_refused(file: Path, content: str | bytes, fault: str) -> None:
    assert fault in faults_of(file, content)


def test_anchors_and_aliases_are_refused_before_they_can_grow(file: Path) -> None:
    bomb = ["a0: &a0 x"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    faults = faults_of(file, "\n".join(bomb))

    assert faults[0] == "line 1: anchors and aliases are not allowed"
    assert len(faults) == 1 + 8 * 10


def test_an_alias_as_a_key_is_refused(file: Path) -> None:
    assert faults_of(file, "a: &x b\n*x : c") == [
        "line 1: anchors and aliases are not allowed",
        "line 2: a key must be a text",
        "line 2: anchors and aliases are not allowed",
    ]


def test_every_group_of_steps_in_a_cycle_is_named(file: Path) -> None:
    needs = {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["e"], "e": ["c"], "f": ["a", "c"]}

    assert faults_of(file, pipeline_text({"p": needs})) == [
        "line 4: pipeline 'p': cycle: a -> b -> a",
        "line 6: pipeline 'p': cycle: c -> d -> e -> c",
    ]


def test_one_step_may_depend_on_the_same_steps_in_another_order(file: Path) -> None:
    shared: dict[str, list[str]] = {"a": [], "b": []}
    text = pipeline_text({"p": {**shared, "c": ["a", "b"]}, "q": {**shared, "c": ["b", "a"]}})

    assert list(load(file, text).pipelines) == ["p", "q"]


def test_names_are_bounded(file: Path) -> None:
    longest = "n" * 100

    assert load(file, pipeline_text({longest: {longest: []}})).find(longest)
    assert len(faults_of(file, pipeline_text({longest + "n": {longest + "n": []}}))) == 2


def test_a_missing_file_is_a_fault(file: Path) -> None:
    with pytest.raises(PipelineConfigurationError, match="No such file") as caught:
        DefaultPipelineGenerator(file).load()

    assert str(file) in str(caught.value)


def test_a_directory_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(PipelineConfigurationError, match="cannot be read"):
        DefaultPipelineGenerator(tmp_path).load()


def test_a_file_has_at_most_one_mebibyte(file: Path) -> None:
    text = pipeline_text({"p": {"a": []}}) + "\n#"
    largest = text + " " * (MAX_FILE_BYTES - len(text))

    assert load(file, largest).find("p")
    assert faults_of(file, largest + " ") == ["the file has more than 1048576 bytes"]


def test_loads_are_counted_and_a_bad_file_is_logged_as_critical(file: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    generator = DefaultPipelineGenerator(file, metrics)

    with capture_logs() as logs:
        with pytest.raises(PipelineConfigurationError):
            generator.load()
        file.write_text(pipeline_text({"p": {"a": []}}))
        generator.load()

    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("pipeline_configuration_refused", "critical"),
        ("pipelines_loaded", "info"),
    ]
    assert logs[0]["faults"] == ["the file cannot be read: No such file or directory"]
    value = metrics.registry.get_sample_value
    assert value("bcs_pipeline_config_load_success_total") == 1
    assert value("bcs_pipeline_config_load_error_total") == 1


def test_a_large_graph_is_loaded_and_resolved_in_linear_time(file: Path) -> None:
    file.write_text(pipeline_text({"large": layered(layers=40, width=50, dependencies=12)}))
    rules = DefaultPipelineRules()
    started = time.process_time()

    pipeline = DefaultPipelineGenerator(file).load().pipelines["large"]
    steps = rules.resolve_pipeline_dependencies(pipeline)
    phases = rules.prune_completed_steps(steps, BatchCompletionSummary(batch_id=BatchId("b")))
    rules.validate_pipeline_prerequisites(phases)

    assert time.process_time() - started < 3  # 0.3 s, and thrice that under coverage
    assert len(phases) == 2_000


VALUES = st.recursive(
    st.none() | st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_a_document_means_what_it_says(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)  # JSON is YAML

    assert read_document(text).value == value


@given(st.text())
def test_any_text_is_a_document_or_is_refused_with_a_line(text: str) -> None:
    try:
        read_document(text)
    except UnreadableDocumentError as exc:
        refused = str(exc)
    else:
        return
    assert re.match(r"line \d+: ", refused)
