"""Every service that knows pipelines reads the one file in the same way."""

from pathlib import Path

import pytest

from service_libs.exceptions import PipelineConfigurationError
from service_libs.pipeline_file.reading import read_pipelines
from tests.support.pipelines import PIPELINES_FILE

NAMES = ["ai_feedback", "cj_assessment", "nlp", "comprehensive", "spellcheck"]


def test_what_may_be_asked_for_are_the_pipelines_and_the_steps() -> None:
    file = read_pipelines(PIPELINES_FILE)

    assert file.names == NAMES
    assert {name: step.depends_on for name, step in file.steps.items()} == {
        "spellcheck": [],
        "nlp": ["spellcheck"],
        "ai_feedback": ["spellcheck", "nlp"],
        "cj_assessment": ["spellcheck"],
    }


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pipelines.yaml"
    file.write_text("pipelines:\n  one:\n    steps:\n      - {name: a, depends_on: [b]}\n")

    with pytest.raises(PipelineConfigurationError) as caught:
        read_pipelines(file)

    assert len(caught.value.faults) == 4
    assert all(fault.startswith("line 4: ") for fault in caught.value.faults)
