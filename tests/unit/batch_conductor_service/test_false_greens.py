"""Histories that once had a phase skipped that was not done, each as bytes to its answer."""

from collections.abc import AsyncIterator

import pytest

from tests.support.builders import essay_names
from tests.support.questions import (
    Said,
    Story,
    assessment,
    phase,
    registration,
    spellcheck,
    telling,
)

ONE, TWO = essay_names(1), essay_names(2)
DONE = "already_completed"


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    async with telling() as story:
        yield story


class TestMadeFromSomethingOlder:
    async def test_an_assessment_older_than_a_spellcheck_of_its_essay_is_made_again(
        self, story: Story
    ) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck())
        await story.at(2, assessment("essay-1"))
        assert await story.reasons("cj_assessment") == [DONE, DONE]

        await story.at(3, spellcheck())
        assert await story.reasons("cj_assessment") == [DONE, "prerequisite_newer"]

        await story.at(4, assessment("essay-1"))
        assert await story.reasons("cj_assessment") == [DONE, DONE]

    async def test_an_essay_that_failed_a_second_spellcheck_and_was_mended_needs_nlp_anew(
        self, story: Story
    ) -> None:
        await story.at(0, registration(2))
        await story.at(1, *map(spellcheck, TWO))
        await story.at(2, phase("nlp", TWO))
        assert await story.reasons("nlp") == [DONE, DONE]

        await story.at(3, spellcheck("essay-1", "failed"))
        assert await story.reasons("nlp") == ["failed_essays", "prerequisite_runs"]

        await story.at(4, spellcheck("essay-1"))
        assert await story.reasons("nlp") == [DONE, "prerequisite_newer"]

    async def test_a_spellcheck_done_anew_after_it_failed_critically_needs_nlp_anew(
        self, story: Story
    ) -> None:
        await story.at(0, registration(2))
        await story.at(1, *map(spellcheck, TWO))
        await story.at(2, phase("nlp", TWO))
        await story.at(3, phase("spellcheck", (), status="failed_critically"))
        assert await story.reasons("nlp") == ["outcome_not_successful", "prerequisite_runs"]

        await story.at(4, *map(spellcheck, TWO))
        assert await story.reasons("nlp") == [DONE, "prerequisite_newer"]

    async def test_a_rerun_for_one_essay_hides_no_other_and_a_rerun_of_just_those_ends_it(
        self, story: Story
    ) -> None:
        await story.at(0, registration(2))
        await story.at(1, *map(spellcheck, TWO))
        await story.at(2, phase("nlp", TWO))
        await story.at(3, *map(spellcheck, TWO))

        await story.at(4, phase("nlp", ["essay-1"]))
        assert await story.reasons("nlp") == [DONE, "prerequisite_newer"]

        await story.at(5, phase("nlp", ["essay-2"]))
        assert await story.reasons("nlp") == [DONE, DONE]

    async def test_what_depends_on_a_step_that_is_made_again_is_made_again(
        self, story: Story
    ) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck())
        await story.at(2, phase("nlp", ONE))
        await story.at(3, phase("ai_feedback", ONE))
        assert await story.reasons("ai_feedback") == [DONE, DONE, DONE]

        await story.at(4, phase("nlp", ["essay-1", "essay-1"]))
        # Twice the same essay is two essays of one: nothing is proven before the next registration.
        assert (await story.reasons("ai_feedback"))[1] == "incomplete"
        await story.at(5, registration(1))
        assert await story.reasons("ai_feedback") == [DONE, DONE, "prerequisite_newer"]


class TestCopies:
    @pytest.mark.parametrize(
        ("failure", "reason"),
        [
            (phase("nlp", (), status="failed_critically"), "outcome_not_successful"),
            (phase("nlp", TWO, status="failed_critically"), "outcome_not_successful"),
            (phase("nlp", ["essay-1"], ["essay-2"]), "failed_essays"),
        ],
    )
    async def test_fail_succeed_fail_in_the_same_words_is_a_failure(
        self, story: Story, failure: Said, reason: str
    ) -> None:
        await story.at(0, registration(2))
        await story.at(1, *map(spellcheck, TWO))
        await story.at(2, failure)
        await story.at(3, phase("nlp", TWO))
        assert await story.reasons("nlp") == [DONE, DONE]

        await story.at(4, failure)
        assert await story.reasons("nlp") == [DONE, reason]

    async def test_a_success_sent_again_is_no_newer_success(self, story: Story) -> None:
        await story.at(0, registration(1))
        await story.at(1, spellcheck())
        await story.at(2, phase("nlp", ONE))
        await story.at(3, phase("nlp", (), ONE))

        await story.at(4, phase("nlp", ONE))

        assert await story.reasons("nlp") == [DONE, "failed_essays"]


class TestNumberOfEssays:
    async def test_ten_of_ten_are_not_twelve_of_twelve_if_the_question_says_so(
        self, story: Story
    ) -> None:
        await story.at(0, registration(10))
        await story.at(1, *map(spellcheck, essay_names(10)))

        assert await story.reasons("spellcheck") == [DONE]
        assert await story.reasons("spellcheck", essays_total=12) == ["incomplete"]
        assert await story.reasons("spellcheck", essays_total=8) == [DONE]

    @pytest.mark.parametrize("said", [phase("nlp", essay_names(12)), assessment(*essay_names(12))])
    async def test_nor_if_an_outcome_since_then_lists_twelve(
        self, story: Story, said: Said
    ) -> None:
        await story.at(0, registration(10))
        await story.at(1, *map(spellcheck, essay_names(10)))
        await story.at(2, said)
        assert await story.reasons("spellcheck") == ["incomplete"]

        await story.at(3, registration(10))
        assert await story.reasons("spellcheck") == [DONE]

    async def test_three_of_a_count_of_three_are_not_the_five_that_are_named(
        self, story: Story
    ) -> None:
        await story.at(0, registration(3, essay_names(5)))
        await story.at(1, *map(spellcheck, essay_names(3)))
        assert await story.reasons("spellcheck") == ["incomplete"]

        await story.at(2, *map(spellcheck, essay_names(5)[3:]))
        assert await story.reasons("spellcheck") == [DONE]

    async def test_the_success_of_nothing_proves_nothing(self, story: Story) -> None:
        await story.at(1, phase("spellcheck", ()))
        await story.at(2, phase("nlp", ()))
        assert await story.reasons("nlp") == ["not_started", "requested"]

        await story.at(3, phase("spellcheck", ONE))
        await story.at(4, phase("nlp", ONE))
        assert await story.reasons("nlp") == [DONE, DONE]


class TestAssessment:
    FOUR = essay_names(4)

    async def checked(self, story: Story) -> None:
        await story.at(0, registration(4))
        await story.at(1, *map(spellcheck, self.FOUR))

    async def test_one_over_two_halves_never_compared_all_with_each_other(
        self, story: Story
    ) -> None:
        await self.checked(story)
        await story.at(2, assessment(*self.FOUR[:2]))
        await story.at(3, assessment(*self.FOUR[2:]))
        assert await story.reasons("cj_assessment") == [DONE, "incomplete"]

        await story.at(4, assessment(*self.FOUR))
        assert await story.reasons("cj_assessment") == [DONE, DONE]

    async def test_a_later_one_over_a_part_takes_the_place_of_one_over_all(
        self, story: Story
    ) -> None:
        await self.checked(story)
        await story.at(2, assessment(*self.FOUR))
        assert await story.reasons("cj_assessment") == [DONE, DONE]

        await story.at(3, assessment(*self.FOUR[:3]))
        assert await story.reasons("cj_assessment") == [DONE, "incomplete"]

    async def test_what_else_tells_of_a_part_since_takes_it_away_too(self, story: Story) -> None:
        await self.checked(story)
        await story.at(2, assessment(*self.FOUR))
        await story.at(3, phase("cj_assessment", self.FOUR))
        assert await story.reasons("cj_assessment") == [DONE, DONE]

        await story.at(4, phase("cj_assessment", self.FOUR[:3]))
        assert await story.reasons("cj_assessment") == [DONE, "incomplete"]
