"""Tokens checked with joserfc: only the algorithms that were set, only keys that fit them.

What was found good is remembered until it ends, for as long as its key is there: of the time that
an answer takes, the signature is the largest part.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from cachetools import LRUCache
from joserfc import jws, jwt
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)
from joserfc.jwk import Key

from api_gateway_service.exceptions import UnauthenticatedError
from api_gateway_service.implementations.key_rings_impl import KeyRing
from api_gateway_service.models.values import Principal

LEEWAY_SECONDS = 30
MAX_REMEMBERED = 10_000  # tokens
MAX_USER_LENGTH = 255  # characters, as commands have it
MAX_SCOPE_LENGTH = 4096
COMPACT_DOTS = 2  # between header, payload and signature
REASONS = (
    *("missing", "malformed", "bad_algorithm", "unknown_key", "bad_signature", "expired"),
    *("not_yet_valid", "wrong_issuer", "wrong_audience", "bad_claims"),
)

_REASON_BY_CLAIM = {
    "iss": "wrong_issuer",
    "aud": "wrong_audience",
    "nbf": "not_yet_valid",
    "iat": "not_yet_valid",
}
# What the library raises of a token that is none, beside errors of its own.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)


class JoseTokenVerifier:
    """`TokenVerifierProtocol` on keys from a ring."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        algorithms: Sequence[str],
        issuer: str,
        audience: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._algorithms = tuple(algorithms)
        self._registry = jws.JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
        self._now = now
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(self._now()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._known: LRUCache[bytes, tuple[int, Principal]] = LRUCache(MAX_REMEMBERED)

    async def verify(self, token: str | None) -> Principal:
        if token is None:
            raise UnauthenticatedError("missing")
        digest = sha256(token.encode("latin-1", "replace")).digest()
        if principal := self._remembered(digest):
            return principal
        header = self._read_header(token)
        key = await self._find_key(header)
        claims = self._read_claims(token, key)
        principal = _principal(claims)
        self._known[digest] = (self._keys.version, principal)
        return principal

    def _remembered(self, digest: bytes) -> Principal | None:
        version, principal = self._known.get(digest, (None, None))
        if principal is None or version != self._keys.version:
            return None
        if (principal.expires_at or 0) <= int(self._now()):
            del self._known[digest]
            raise UnauthenticatedError("expired")
        return principal

    def _read_header(self, token: str) -> dict[str, Any]:
        """Return the header, which nobody has vouched for yet.

        Raises:
            UnauthenticatedError: it is none, or names an algorithm that is not taken.
        """
        if token.count(".") != COMPACT_DOTS:
            raise UnauthenticatedError("malformed")
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, *_UNREADABLE):
            raise UnauthenticatedError("malformed") from None
        if header.get("alg") not in self._algorithms:
            raise UnauthenticatedError("bad_algorithm")
        return dict(header)

    async def _find_key(self, header: dict[str, Any]) -> Key:
        """Return the key that the header names, of the kind that its algorithm needs.

        Raises:
            UnauthenticatedError: there is none.
            KeysUnavailableError: there never was any.
        """
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise UnauthenticatedError("malformed")
        key = await self._keys.find(kid, header["alg"])
        if key is None:
            raise UnauthenticatedError("unknown_key")
        return key

    def _read_claims(self, token: str, key: Key) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, key, registry=self._registry).claims
            self._claims.validate(claims)
        except BadSignatureError:
            raise UnauthenticatedError("bad_signature") from None
        except ExpiredTokenError:
            raise UnauthenticatedError("expired") from None
        except (InvalidClaimError, MissingClaimError) as exc:
            claim = getattr(exc, "claim", "")
            raise UnauthenticatedError(_REASON_BY_CLAIM.get(claim, "bad_claims")) from None
        except (JoseError, *_UNREADABLE):
            raise UnauthenticatedError("malformed") from None
        return claims


class FixedUserVerifier:
    """`TokenVerifierProtocol` for development: whoever asks is the same user, with every right."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    async def verify(self, token: str | None) -> Principal:
        del token
        return self._principal


def _principal(claims: dict[str, Any]) -> Principal:
    """Return whom the claims name.

    Raises:
        UnauthenticatedError: nobody that a command could be sent for.
    """
    user_id, scope = claims["sub"], claims.get("scope", "")
    is_user = isinstance(user_id, str) and 0 < len(user_id) <= MAX_USER_LENGTH
    if not is_user or not user_id.isprintable() or user_id != user_id.strip():
        raise UnauthenticatedError("bad_claims")
    if not isinstance(scope, str) or len(scope) > MAX_SCOPE_LENGTH:
        raise UnauthenticatedError("bad_claims")
    return Principal(
        user_id=user_id,
        scopes=frozenset(scope.split()),
        expires_at=float(claims["exp"]) + LEEWAY_SECONDS,
    )
