"""Histories that once had a phase skipped by a clock that was off, or by what could not be read."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.builders import RecordedEvent, assessed, essay_names, minutes
from tests.support.questions import (
    Said,
    Story,
    assessment,
    phase,
    registration,
    spellcheck,
    spoilt,
    telling,
)

A_YEAR = timedelta(days=365)
ONE, TWO = essay_names(1), essay_names(2)
DONE = "already_completed"


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    async with telling() as story:
        yield story


class TestClocks:
    """A failure must not lose by whatever its sender's clock says."""

    async def done(self, story: Story) -> None:
        await story.at(0, registration(2))
        await story.at(1, *map(spellcheck, TWO))
        assert await story.reasons("spellcheck") == [DONE]

    @pytest.mark.parametrize("off", [-A_YEAR, A_YEAR])
    @pytest.mark.parametrize(
        ("takes_away", "reason"),
        [
            (spellcheck("essay-1", "failed"), "failed_essays"),
            (spellcheck("essay-1", "in_progress"), "incomplete"),
            (phase("spellcheck", (), TWO), "failed_essays"),
            (phase("spellcheck", (), status="failed_critically"), "outcome_not_successful"),
            (registration(3), "incomplete"),
        ],
    )
    async def test_what_takes_away_does_whatever_the_clock_of_its_sender_is_off(
        self, story: Story, off: timedelta, takes_away: Said, reason: str
    ) -> None:
        await self.done(story)

        await story.at(5, takes_away, said_at=minutes(5) + off)

        assert await story.reasons("spellcheck") == [reason]

    async def test_a_failure_from_a_year_ahead_does_not_outlast_what_comes_after_it(
        self, story: Story
    ) -> None:
        await self.done(story)
        await story.at(5, spellcheck("essay-1", "failed"), said_at=minutes(5) + A_YEAR)

        await story.at(7, spellcheck("essay-1"))

        assert await story.reasons("spellcheck") == [DONE]

    async def test_a_success_in_local_time_does_not_hide_a_failure_within_those_hours(
        self, story: Story
    ) -> None:
        naive = minutes(121).replace(tzinfo=None)
        await story.at(0, registration(1))
        await story.at(1, spellcheck(), said_at=naive)
        assert await story.reasons("spellcheck") == ["incomplete"]

        await story.at(60, spellcheck(status="failed"))
        assert await story.reasons("spellcheck") == ["failed_essays"]

        await story.at(70, spellcheck())
        assert await story.reasons("spellcheck") == [DONE]

    @pytest.mark.parametrize(("seconds", "reason"), [(60, DONE), (61, "incomplete")])
    async def test_a_success_may_be_ahead_by_the_tolerance_and_no_more(
        self, story: Story, seconds: float, reason: str
    ) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck(), said_at=minutes(1) + timedelta(seconds=seconds))

        assert await story.reasons("spellcheck") == [reason]


class TestUnreadable:
    @pytest.mark.parametrize("status", ["abandoned", "COMPLETED", "failed_critically"])
    async def test_a_status_that_this_version_does_not_know_is_not_done(
        self, story: Story, status: str
    ) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck())

        await story.at(2, spoilt(spellcheck(status="failed"), status=status))

        assert await story.reasons("spellcheck") == ["incomplete"]
        assert story.service.letters == []

    @pytest.mark.parametrize(
        "unreadable",
        [
            spoilt(spellcheck(status="failed"), envelope={"schema_version": 2}),
            spoilt(spellcheck(status="failed"), corrected_text_storage_id="x" * 1_025),
            spoilt(spellcheck(status="failed"), entity_id="no:essay"),
            spoilt(spellcheck(status="failed"), timestamp="2025-06-01"),
            spoilt(spellcheck(status="failed"), timestamp=None),
            spoilt(phase("spellcheck", (), ONE), envelope={"schema_version": 2}),
            spoilt(phase("spellcheck", (), ONE), failed_essay_ids="essay-1"),
            spoilt(phase("spellcheck", (), ONE), phase_name="no:phase"),
            spoilt(registration(2), expected_essay_count="2"),
        ],
    )
    async def test_what_may_have_been_a_failure_is_one_until_the_essay_completes_anew(
        self, story: Story, unreadable: Said
    ) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck())
        await story.at(2, unreadable)
        assert await story.reasons("spellcheck") == ["unreadable_event"]
        assert len(story.service.letters) == 1

        await story.at(3, spellcheck())
        assert await story.reasons("spellcheck") == [DONE]

    async def test_one_essay_s_record_puts_no_other_in_doubt(self, story: Story) -> None:
        await story.at(0, registration(2))
        await story.at(1, *map(spellcheck, TWO))
        await story.at(2, spoilt(spellcheck("essay-2", "failed"), envelope={"schema_version": 2}))

        await story.at(3, spellcheck("essay-1"))
        assert await story.reasons("spellcheck") == ["unreadable_event"]

        await story.at(4, spellcheck("essay-2"))
        assert await story.reasons("spellcheck") == [DONE]

    async def test_what_is_not_even_json_is_about_the_batch_of_its_key(self, story: Story) -> None:
        def garbage(at: datetime) -> RecordedEvent:
            return assessed("batch", ["essay-1"], at=at)._replace(value=b"{")

        await story.at(0, registration(1))
        await story.at(1, spellcheck())
        await story.at(2, assessment("essay-1"))
        await story.at(3, garbage)
        assert await story.reasons("cj_assessment") == [DONE, "unreadable_event"]

        await story.at(4, assessment("essay-1"))
        assert await story.reasons("cj_assessment") == [DONE, DONE]

    async def test_an_unreadable_registration_is_in_doubt_until_one_can_be_read(
        self, story: Story
    ) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck())
        await story.at(2, phase("nlp", ONE))
        await story.at(3, spoilt(registration(2), expected_essay_count="2"))
        assert await story.reasons("nlp") == ["unreadable_event", "unreadable_event"]

        await story.at(4, registration(1))
        assert await story.reasons("nlp") == [DONE, DONE]


class TestTimesOnTheWire:
    NIGHT = datetime(2026, 11, 26, tzinfo=UTC)

    async def test_a_failure_with_a_date_alone_is_not_older_than_the_success_of_that_day(
        self, story: Story
    ) -> None:
        morning = (self.NIGHT + timedelta(hours=9) - minutes(0)) / timedelta(minutes=1)
        await story.at(morning, registration(1), spellcheck())
        assert await story.reasons("spellcheck") == [DONE]

        await story.at(morning + 1, spoilt(spellcheck(status="failed"), timestamp="2026-11-26"))

        assert await story.reasons("spellcheck") == ["unreadable_event"]
        assert story.service.letters == ["schema_violation"]

    @pytest.mark.parametrize(
        "text", ["2026-11-25T24:00:00Z", "2026-11-25T23:59:60Z", "2026-11-26t00:00:00z"]
    )
    async def test_a_failure_at_the_end_of_a_day_is_later_than_a_success_on_it(
        self, story: Story, text: str
    ) -> None:
        midnight = (self.NIGHT - minutes(0)) / timedelta(minutes=1)
        await story.at(midnight - 1, registration(1), spellcheck())
        assert await story.reasons("spellcheck") == [DONE]

        await story.at(midnight, spoilt(spellcheck(status="failed"), timestamp=text))

        assert await story.reasons("spellcheck") == ["failed_essays"]
        assert story.service.letters == []
