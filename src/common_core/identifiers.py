"""Which identifiers may become part of a Redis key or a row. Pure.

A colon would let two pairs of ids meet in one key, a brace would move a key to another cluster
slot, and a star would match others in a scan; so an id is made of letters, digits and `. _ ~ @
+ = -`.
"""

import re

MAX_ID_LENGTH = 255  # characters
MAX_CORRELATION_LENGTH = 100  # characters
ID_PATTERN = rf"^[A-Za-z0-9._~@+=-]{{1,{MAX_ID_LENGTH}}}$"

_IDENTIFIER = re.compile(ID_PATTERN.removesuffix("$") + r"\Z")


def is_identifier(text: str) -> bool:
    """Whether the text may be used as a batch id, an essay id or a step name."""
    return _IDENTIFIER.match(text) is not None
