"""Tokens as the identity service makes them, and as it never would."""

import base64
import json
import time
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.jwk import Key, OctKey, RSAKey

SECRET = "a secret of the tests, 32 bytes or more"
ISSUER = "huleedu-identity-service"
AUDIENCE = "huleedu-platform"
SCOPE = "pipelines:run batches:read"
USER = "teacher"

SECRET_KEY = OctKey.import_key(SECRET)


def claims_of(user: str = USER, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good token, with changes; a claim that is None is left out."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "exp": now + 600,
        "iat": now,
        "scope": SCOPE,
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def token_of(
    user: str = USER,
    *,
    key: Key = SECRET_KEY,
    algorithm: str = "HS256",
    kid: str | None = None,
    **changes: Any,
) -> str:
    """Return a signed token."""
    header = {"alg": algorithm} | ({"kid": kid} if kid else {})
    return jwt.encode(header, claims_of(user, **changes), key, algorithms=[algorithm])


def unsigned_token(algorithm: str = "none") -> str:
    """Return a token that nobody signed."""
    return f"{_encoded({'alg': algorithm, 'typ': 'JWT'})}.{_encoded(claims_of())}."


def with_header(token: str, **changes: str) -> str:
    """Return the token with another header, and the signature that it had."""
    header, claims, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(header + "=="))
    return f"{_encoded(said | changes)}.{claims}.{signature}"


def bearer(user: str = USER, **changes: Any) -> dict[str, str]:
    """Return the header of a caller."""
    return {"Authorization": f"Bearer {token_of(user, **changes)}"}


@cache
def rsa_key(kid: str) -> RSAKey:
    """Return a key pair, for the same id the same: to make one takes long."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
