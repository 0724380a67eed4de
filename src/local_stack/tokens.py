"""Tokens as the identity service makes them, signed with a secret that the gateway is told."""

import secrets
import time

from joserfc import jwt
from joserfc.jwk import OctKey

ALGORITHM = "HS256"
ISSUER = "huleedu-identity-service"
AUDIENCE = "huleedu-platform"
SCOPES = "pipelines:run batches:read"
SECRET_BYTES = 32
TOKEN_SECONDS = 24 * 3600


def make_secret() -> str:
    """Return a secret that nobody else knows."""
    return secrets.token_urlsafe(SECRET_BYTES)


def make_token(secret: str, user_id: str) -> str:
    """Return a token by which the user may do all that the gateway offers."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "scope": SCOPES,
    }
    return jwt.encode({"alg": ALGORITHM}, claims, OctKey.import_key(secret), [ALGORITHM])
