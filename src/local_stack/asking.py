"""Asking the service over HTTP."""

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

REQUEST_TIMEOUT_SECONDS = 10

Json = dict[str, Any]


class ServiceClient:
    """Asks a service at an address; what it raises where nobody answers is an `OSError`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> tuple[int, Json]:
        """Return status and body of the answer."""
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        """Return status and body of the answer."""
        headers = {"Content-Type": "application/json"}
        content = json.dumps(body).encode()
        return self._ask(urllib.request.Request(self.url + path, data=content, headers=headers))

    def is_ready(self) -> bool:
        """Whether the service says that it can answer."""
        try:
            return self.get("/readyz")[0] == HTTPStatus.OK
        except OSError:
            return False

    def _ask(self, request: urllib.request.Request) -> tuple[int, Json]:
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, json.load(exc)
