"""The keys that tokens are checked with: one from the settings, or those that a URL publishes.

An identity service rotates its keys, and may be away: the last good ones are kept, and a key that
nobody knows has the URL asked again, not more often than every few seconds however many ask.
"""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import httpx
import orjson
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, RSAKey
from pydantic import SecretStr

from api_gateway_service.exceptions import KeysUnavailableError
from service_libs.exceptions import SettingsError
from service_libs.timing import Backoff, Wakeups

FETCH_SECONDS = 5  # for an answer of the URL
REFRESH_SECONDS = 300  # between looks for new keys
RETRY_SECONDS = 30  # at most, while the URL cannot be read
COOLDOWN_SECONDS = 5  # after a try, before an unknown key causes another
WAIT_SECONDS = 2  # for which a request waits for a key
MAX_BYTES = 1024 * 1024
MAX_KEYS = 100

_TYPE_BY_ALGORITHM: dict[str, type[Key]] = {"HS": OctKey, "RS": RSAKey, "PS": RSAKey, "ES": ECKey}

logger = structlog.get_logger(__name__)


class KeyRing(Protocol):
    """Keys by their id.

    Attributes:
        version: changes with the keys.
    """

    version: int

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """Return the key, of the kind that the algorithm needs, or None.

        Raises:
            KeysUnavailableError: there never was any key.
        """
        ...


class SettingsKeyRing:
    """The one key of the settings; it has no id, so whatever a token names is it."""

    version = 0

    def __init__(self, key: Key) -> None:
        self._key = key

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        del kid
        return self._key if _fits(self._key, algorithm) else None


class JwksKeyRing:
    """`BackgroundTaskProtocol` that keeps the keys of a URL."""

    name = "jwks_refresher"

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.version = 0
        self._http = http
        self._url = url
        self._keys: tuple[Key, ...] | None = None
        self._fetching: asyncio.Task[bool] | None = None
        self._tried_at = -COOLDOWN_SECONDS - time.monotonic()
        self._wakeups = Wakeups()

    async def run(self) -> None:
        backoff = Backoff(RETRY_SECONDS)
        while not self._wakeups.is_stopping:
            if await self._fetch_once():
                backoff.reset()
                await self._wakeups.pause(REFRESH_SECONDS)
            else:
                await self._wakeups.pause(backoff.next_delay())

    def stop(self) -> None:
        self._wakeups.stop()

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        key = self._find(kid, algorithm)
        if key is None and self._may_ask():
            await asyncio.wait({asyncio.ensure_future(self._fetch_once())}, timeout=WAIT_SECONDS)
            key = self._find(kid, algorithm)
        if self._keys is None:
            raise KeysUnavailableError
        return key

    def _find(self, kid: str | None, algorithm: str) -> Key | None:
        fitting = [
            key
            for key in self._keys or ()
            if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None

    def _may_ask(self) -> bool:
        is_cool = time.monotonic() - self._tried_at >= COOLDOWN_SECONDS
        return is_cool or self._fetching is not None

    async def _fetch_once(self) -> bool:
        """Fetch, together with whoever does so already; return whether that gave keys."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="fetch keys")
        return await asyncio.shield(self._fetching)

    async def _fetch(self) -> bool:
        self._tried_at = time.monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                keys = _read_keys(await self._get())
        except (httpx.HTTPError, OSError, TimeoutError, ValueError) as exc:
            logger.warning(
                "keys_not_fetched", error=type(exc).__name__, has_keys=self._keys is not None
            )
            return False
        finally:
            self._fetching = None
        if _described(keys) != _described(self._keys or ()):
            self._keys, self.version = keys, self.version + 1
            logger.info("keys_fetched", count=len(keys))
        return True

    async def _get(self) -> bytes:
        content = bytearray()
        async with self._http.stream("GET", self._url) as response:
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ValueError("larger than 1 MiB")
        return bytes(content)


def secret_key(secret: SecretStr) -> Key:
    """Return the key of the HS algorithms."""
    return OctKey.import_key(secret.get_secret_value())


def public_key(path: Path) -> Key:
    """Return the key in the file.

    Raises:
        SettingsError: there is none in it, or a private one.
    """
    try:
        pem = path.read_bytes()
    except OSError as exc:
        reason = exc.strerror
        raise SettingsError(f"API_GATEWAY_JWT_PUBLIC_KEY_FILE: {path}: {reason}") from exc
    for kind in (RSAKey, ECKey):
        try:
            key = kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
        if not key.is_private:
            return key
    raise SettingsError(f"API_GATEWAY_JWT_PUBLIC_KEY_FILE: {path}: no public key of RSA or EC")


def _fits(key: Key, algorithm: str) -> bool:
    """Whether the key is of the algorithm's kind: an RSA key never becomes a secret."""
    is_of_kind = isinstance(key, _TYPE_BY_ALGORITHM[algorithm[:2]])
    return is_of_kind and key.get("alg") in (None, algorithm)


def _read_keys(content: bytes) -> tuple[Key, ...]:
    """Return the public keys for signatures; others, and those not understood, are passed over.

    Raises:
        ValueError: the content is no key set, or has no such key.
    """
    document = orjson.loads(content)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("no key set")
    keys = [
        key
        for data in listed
        if isinstance(data, dict) and data.get("kty") in ("RSA", "EC")
        if data.get("use", "sig") == "sig"
        if (key := _import(data)) is not None
    ]
    if not keys:
        raise ValueError("no key that can be used")
    return tuple(keys)


def _import(data: dict[str, str | list[str]]) -> Key | None:
    try:
        return JWKRegistry.import_key(data)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _described(keys: Iterable[Key]) -> list[object]:
    return [key.as_dict(private=False) for key in keys]
