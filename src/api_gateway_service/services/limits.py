"""Which limits hold for which route."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api_gateway_service.models.values import Window

BURST_SECONDS = 10
MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLimits:
    """The windows of each route.

    Attributes:
        by_template: those that have windows of their own.
        usual: that of every other.
        auth_failures: that of an address whose tokens are refused.
    """

    by_template: Mapping[str, Sequence[Window]]
    usual: Sequence[Window]
    auth_failures: Window

    def of(self, template: str) -> Sequence[Window]:
        """Return the windows of a route, the shortest first."""
        return self.by_template.get(template, self.usual)


def burst(amount: int) -> Window:
    """Return the window of what may come at once."""
    return Window(name="burst", amount=amount, seconds=BURST_SECONDS)


def minute(amount: int, name: str = "minute") -> Window:
    """Return the window of a minute."""
    return Window(name=name, amount=amount, seconds=MINUTE_SECONDS)
