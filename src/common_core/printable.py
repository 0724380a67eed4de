"""Text from outside that a person may read at a terminal.

What a terminal acts on instead of showing it, or what has it show other text elsewhere than it
stands, is neither taken into an identifier nor written to a log as it is.
"""

import json
import re

# C0, DEL and C1; the separators of lines and paragraphs; marks, embeddings, overrides and isolates
# of direction.
_UNPRINTABLE = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
PRINTABLE_PATTERN = f"^[^{_UNPRINTABLE}]*$"

_CHARACTER = re.compile(f"[{_UNPRINTABLE}]")
_CHARACTER_OF_BLOCK = re.compile(rf"(?![\n\t])[{_UNPRINTABLE}]")


def is_printable(text: str) -> bool:
    """Whether a terminal shows the text, and does nothing else."""
    return _CHARACTER.search(text) is None


def escaped(text: str) -> str:
    """Return the text with what is not printable written as in JSON."""
    return _CHARACTER.sub(_escape, text)


def escaped_block(text: str) -> str:
    """Return the same for text of several lines, which stay lines."""
    return _CHARACTER_OF_BLOCK.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return "\\u007f" if match[0] == "\x7f" else json.dumps(match[0])[1:-1]
