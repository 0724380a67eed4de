import pytest

from common_core.fields import MAX_ID_LENGTH, is_identifier


@pytest.mark.parametrize("text", ["a", "essay-1", "A.b_c~d@e+f=g", "0" * MAX_ID_LENGTH])
def test_letters_digits_and_some_marks_make_an_identifier(text: str) -> None:
    assert is_identifier(text)


@pytest.mark.parametrize(
    "text",
    ["", "0" * (MAX_ID_LENGTH + 1), "a:b", "{a}", "a*", "a b", "a\n", "a\0", "é", "a/b", "\ud800"],
)
def test_what_could_change_the_meaning_of_a_key_is_no_identifier(text: str) -> None:
    assert not is_identifier(text)
