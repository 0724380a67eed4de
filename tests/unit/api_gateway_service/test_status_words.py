"""The guide has every word that a status may hold, and the page has words of its own for each."""

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from api_gateway_service.models.responses import ClientStatus
from batch_orchestrator_service.domain.states import (
    PhaseStatus,
    RejectionReason,
    RunState,
    WaitReason,
)
from common_core.verdicts import Reason

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
WORDS = (ROOT / "src/api_gateway_service/demo/words.js").read_text(encoding="utf-8")

# By field: what it may hold, and the page's table of it.
FIELDS: dict[str, tuple[Collection[str], str]] = {
    "status": ([*ClientStatus], "BATCH_STATUSES"),
    "phases[].status": ([*PhaseStatus], "PHASE_STATUSES"),
    "phases[].skip_reason": ([Reason.ALREADY_COMPLETED], "SKIP_REASONS"),
    "requests[].state": ([*RunState], "REQUEST_STATES"),
    "requests[].reason": ([*WaitReason, *RejectionReason], "REASONS"),
}
OF_THE_PAGE = {"sent"}  # its own word for what stands in no status yet


@pytest.mark.parametrize("field", FIELDS)
def test_the_guide_has_every_word_and_no_other(field: str) -> None:
    [values] = re.findall(rf"^\| `{re.escape(field)}` \| (.*) \|$", GUIDE, re.MULTILINE)

    assert set(re.findall(r"`([a-z_]+)`", values)) - {"skip_reason"} == set(FIELDS[field][0])


@pytest.mark.parametrize("field", FIELDS)
def test_the_page_says_every_word_in_its_own_way(field: str) -> None:
    expected, table = FIELDS[field]
    [body] = re.findall(rf"const {table} = {{\n(.*?)\n}};", WORDS, re.DOTALL)

    assert set(re.findall(r"^  (\w+): ", body, re.MULTILINE)) - OF_THE_PAGE == set(expected)
