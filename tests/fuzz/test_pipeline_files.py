"""Whatever a pipeline file holds, it ends as a catalog or as faults with their places."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.implementations.yaml_files.pipelines import DefaultPipelineGenerator
from batch_conductor_service.models import BatchCompletionSummary, BatchId
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineRules
from service_libs.exceptions import PipelineConfigurationError
from tests.support.fuzzing import STRANGE_JSON, broken_bytes, mutated_json, tries
from tests.support.pipelines import PIPELINES_FILE

VALID = PIPELINES_FILE.read_bytes()
AS_JSON = json.dumps(yaml.safe_load(VALID)).encode()  # JSON is YAML
LINES = VALID.decode().splitlines()

CORPUS = (
    *STRANGE_JSON,
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    "pipelines: {}".encode("utf-16"),
    b"\x85",
    b"%YAML 9.9\n---\npipelines: {}",
    b"%TAG ! tag:x,2000:\n---\n!a b",
    b"!!python/object/apply:os.abort []",
    b"pipelines: &a {b: *a}",
    b"<<: {pipelines: {}}",
    b"? ? ? a",
    b"- - - - - - - - - - - - - - - - - - - - - - - - a",
    b"pipelines: |\n  text\n...\n...\n",
    b"pipelines:\n  a:\n    steps: 2001-01-01",
    b"pipelines: {a: {steps: [{name: .inf}, {name: 0o7}, {name: 1_0}]}}",
    b"'unfinished",
    b'"\\U0010FFFF\\x00": 1',
    b'"\\uD800": 1',
    b"key: [" + b"{a: b}," * 5_000 + b"]",
    b"a:\n" * 10_000,
    b"#" * 100_000,
    b"---\n" * 1_000,
)

SIGNS = "- : ? , [ ] { } & * ! | > ' \" % @ ` # ~ = << --- ... \\"
WORDS = "pipelines steps name depends_on spellcheck null no 1"
PIECES = st.sampled_from(
    [*SIGNS.split(), *WORDS.split(), "\n", "\t", "\0", "\x85", "\u2028", "\ufeff"]
)
yaml_like = st.lists(PIECES, max_size=30).map(" ".join)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def check(directory: Path, content: bytes) -> PipelineCatalog | None:
    """Load the content: each pipeline can be resolved, or each fault is named with its line."""
    file = directory / "pipelines.yaml"
    file.write_bytes(content)
    try:
        catalog = DefaultPipelineGenerator(file).load()
    except PipelineConfigurationError as exc:
        faults = exc.faults
    else:
        check_that_all_can_be_resolved(catalog)
        return catalog
    assert faults
    assert all(re.match(r"line \d+: .", fault) for fault in faults)
    return None


def check_that_all_can_be_resolved(catalog: PipelineCatalog) -> None:
    rules = DefaultPipelineRules()
    for name in catalog.names:
        pipeline = catalog.find(name)
        assert pipeline
        steps = rules.resolve_pipeline_dependencies(pipeline)
        empty = BatchCompletionSummary(batch_id=BatchId("batch"))
        rules.validate_pipeline_prerequisites(rules.prune_completed_steps(steps, empty))


def test_the_file_of_the_service_is_taken_as_it_is_and_as_json(directory: Path) -> None:
    for content in (VALID, AS_JSON):
        assert check(directory, content)


@pytest.mark.parametrize("content", CORPUS, ids=lambda content: repr(content[:20]))
def test_every_file_of_the_corpus_is_refused(directory: Path, content: bytes) -> None:
    assert check(directory, content) is None


@tries(100)
@given(st.binary() | st.text().map(str.encode) | yaml_like.map(str.encode))
def test_any_text_is_a_catalog_or_has_faults(directory: Path, content: bytes) -> None:
    check(directory, content)


@tries(100)
@given(mutated_json(st.just(AS_JSON)))
def test_a_mutated_document_is_a_catalog_or_has_faults(directory: Path, content: bytes) -> None:
    check(directory, content)


@st.composite
def mutated_lines(draw: st.DrawFn) -> bytes:
    """Draw the file with lines dropped, doubled, moved, indented otherwise or replaced."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        taken = lines.pop(place)
        indented = " " * draw(st.integers(0, 9)) + taken.strip()
        replaced = draw(st.sampled_from(["drop", "double", "indent", "replace"]))
        put = {"drop": [], "double": [taken] * 2, "indent": [indented], "replace": []}[replaced]
        if replaced == "replace":
            put = [taken.partition(":")[0] + ": " + draw(yaml_like)]
        where = draw(st.integers(0, len(lines)))
        lines[where:where] = put
    return "\n".join(lines).encode()


@tries(100)
@given(mutated_lines())
def test_a_file_with_mutated_lines_is_a_catalog_or_has_faults(
    directory: Path, content: bytes
) -> None:
    check(directory, content)


@tries(50)
@given(broken_bytes(VALID))
def test_a_broken_file_is_a_catalog_or_has_faults(directory: Path, content: bytes) -> None:
    check(directory, content)
