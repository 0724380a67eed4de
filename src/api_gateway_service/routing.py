"""The routes, as what stands before the router has to know them: limits, scopes, labels.

The router's own table cannot be asked before it has matched, and a refused request never gets
there. A test holds the two together.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

PROTECTED_PREFIX = "/v1/"
BATCHES = "/v1/batches"
PIPELINES = BATCHES + "/{batch_id}/pipelines"
STATUS = BATCHES + "/{batch_id}/status"
EVENTS = BATCHES + "/{batch_id}/events"
OPERATING = ("/healthz", "/readyz", "/livez", "/metrics", "/docs", "/redoc", "/openapi.json")
ASSETS = "/docs/assets/{name}"
DEMO = "/demo"
DEMO_FILES = DEMO + "/{name}"
UNMATCHED = "unmatched"


class ScopeName(StrEnum):
    """What a token may allow."""

    PIPELINES_RUN = "pipelines:run"
    BATCHES_READ = "batches:read"


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """The route that a path leads to.

    Attributes:
        template: its pattern, a label; never the path itself.
        batch_id: the batch that the path names, checked by nobody yet.
    """

    template: str
    batch_id: str | None = None

    @property
    def is_protected(self) -> bool:
        """Whether a token is needed."""
        return self.scope is not None or self.template == PROTECTED_PREFIX

    @property
    def scope(self) -> ScopeName | None:
        """What the token must allow."""
        return _SCOPES.get(self.template)


_SCOPES = {
    PIPELINES: ScopeName.PIPELINES_RUN,
    STATUS: ScopeName.BATCHES_READ,
    EVENTS: ScopeName.BATCHES_READ,
}
_OF_BATCH = re.compile(rf"{BATCHES}/(?P<batch_id>[^/]+)/(?P<what>pipelines|status|events)\Z")
_OF_BATCHES = {"pipelines": PIPELINES, "status": STATUS, "events": EVENTS}
_FILES = (ASSETS, DEMO_FILES)


def match_route(path: str) -> MatchedRoute:
    """Return the route; of an unknown one below `/v1/` the prefix, of any other `unmatched`."""
    if match := _OF_BATCH.match(path):
        return MatchedRoute(_OF_BATCHES[match["what"]], match["batch_id"])
    if path in OPERATING or path == DEMO:
        return MatchedRoute(path)
    if path.startswith(PROTECTED_PREFIX):
        return MatchedRoute(PROTECTED_PREFIX)
    for template in _FILES:
        if path.startswith(template.partition("{")[0]):
            return MatchedRoute(template)
    return MatchedRoute(UNMATCHED)
