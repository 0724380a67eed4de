"""Asking the service over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

REQUEST_TIMEOUT_SECONDS = 10

Json = dict[str, Any]


class ServiceClient:
    """Asks a service at an address; what it raises where nobody answers is an `OSError`.

    With a token it asks as the user whose token it is.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> tuple[int, Json]:
        """Return status and body of the answer."""
        return self._ask(urllib.request.Request(self.url + path, headers=self._headers))

    def post(
        self, path: str, body: Json, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """Return status and body of the answer."""
        sent = {"Content-Type": "application/json", **self._headers, **(headers or {})}
        content = json.dumps(body).encode()
        return self._ask(urllib.request.Request(self.url + path, data=content, headers=sent))

    def has(self, path: str) -> bool:
        """Whether there is anything at the path."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=REQUEST_TIMEOUT_SECONDS):
                return True
        except urllib.error.HTTPError as exc:
            exc.close()
            return False

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
