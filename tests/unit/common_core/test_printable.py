import re
import unicodedata

import pytest

from common_core.printable import PRINTABLE_PATTERN, escaped, escaped_block, is_printable


def test_no_control_character_and_no_change_of_direction_is_printable() -> None:
    bad = {
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) == "Cc"
        or unicodedata.bidirectional(chr(code))
        in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    }

    assert [character for character in bad if is_printable(character)] == []


@pytest.mark.parametrize("text", ["", "a b", "Zoë", "עברית", "☂", "👩‍🔬", "\\u001b", "'\"<>"])
def test_what_is_shown_stays_as_it_is(text: str) -> None:
    assert is_printable(text)
    assert escaped(text) == escaped_block(text) == text
    assert re.fullmatch(PRINTABLE_PATTERN, text)


def test_what_is_not_is_written_as_in_json() -> None:
    assert escaped("a\n\x1b[2J\x7f\x9b\u202e") == "a\\n\\u001b[2J\\u007f\\u009b\\u202e"


def test_lines_of_a_block_stay_lines() -> None:
    assert escaped_block("a\n\tb\rc\x1b") == "a\n\tb\\rc\\u001b"
