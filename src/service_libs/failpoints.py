"""Places where the process, or a task of it, can be made to die, for tests of what survives that.

`BCS_FAILPOINT=name`, with the prefix of the service, ends the process, as a power cut would, at the
failpoint of that name; with `name:3` when it is passed for the third time. `name:1:raise` raises
there, once, as a fault of ours in that place would. Several are named with commas; one that is not
named does nothing.
"""

import os
import sys

EXIT_CODE = 137  # as of a process that was killed


class FailpointError(RuntimeError):
    """What no one expects and no one catches."""


class _Armed:
    """A failpoint that is armed, and how often it is still passed unharmed."""

    def __init__(self, text: str) -> None:
        self.name, turn, action = (*text.split(":"), "", "")[:3]
        self._passes_left = int(turn or 1)
        self._raises = action == "raise"

    def strike(self) -> None:
        self._passes_left -= 1
        if self._passes_left == 0:
            sys.stderr.write(f"failpoint {self.name}\n")
            sys.stderr.flush()
            self._die()

    def _die(self) -> None:
        if self._raises:
            raise FailpointError(self.name)
        os._exit(EXIT_CODE)


# Read from the environment once.
_armed = {
    armed.name: armed
    for variable, texts in os.environ.items()
    if variable.endswith("_FAILPOINT")
    for armed in map(_Armed, texts.split(","))
}


def failpoint(name: str) -> None:
    """Die here, if this failpoint is armed.

    Raises:
        FailpointError: it is armed to raise.
    """
    if armed := _armed.get(name):
        armed.strike()
