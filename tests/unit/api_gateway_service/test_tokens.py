"""Which tokens are taken, and for what reason others are not."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, RSAKey

from api_gateway_service.exceptions import UnauthenticatedError
from api_gateway_service.implementations.key_rings_impl import SettingsKeyRing, public_key
from api_gateway_service.implementations.token_verifier_impl import REASONS, JoseTokenVerifier
from service_libs.exceptions import SettingsError
from tests.support.fuzzing import tries
from tests.support.gateway.tokens import (
    AUDIENCE,
    ISSUER,
    SECRET_KEY,
    claims_of,
    token_of,
    unsigned_token,
    with_header,
)

RSA = RSAKey.generate_key(2048)
OTHER_RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")


class Now:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


def verifier_of(
    key: Key = SECRET_KEY, *algorithms: str, now: Now | None = None
) -> JoseTokenVerifier:
    return JoseTokenVerifier(
        SettingsKeyRing(key),
        algorithms=algorithms or ("HS256",),
        issuer=ISSUER,
        audience=AUDIENCE,
        now=now or Now(),
    )


async def reason_of(verifier: JoseTokenVerifier, token: str | None) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await verifier.verify(token)
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize(
    ("key", "algorithm"), [(SECRET_KEY, "HS256"), (RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")]
)
async def test_a_good_token_says_who_asks(key: Key, algorithm: str) -> None:
    claims = claims_of("teacher", scope="batches:read  other")

    principal = await verifier_of(key, algorithm).verify(
        token_of("teacher", key=key, algorithm=algorithm, **claims)
    )

    assert principal.user_id == "teacher"
    assert principal.scopes == {"batches:read", "other"}
    assert principal.expires_at == claims["exp"] + 30  # as long as it is taken
    assert principal.may("batches:read")
    assert not principal.may("pipelines:run")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "bad_claims"),
        ({"exp": "soon"}, "bad_claims"),
        ({"nbf": 2**33}, "not_yet_valid"),
        ({"iat": 2**33}, "not_yet_valid"),
        ({"iss": "somebody"}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"iss": [ISSUER]}, "wrong_issuer"),
        ({"aud": "somebody"}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
        ({"aud": ["somebody", 7]}, "wrong_audience"),
        ({"sub": None}, "bad_claims"),
        ({"sub": ""}, "bad_claims"),
        ({"sub": 7}, "bad_claims"),
        ({"sub": "x" * 256}, "bad_claims"),
        ({"sub": "a\nb"}, "bad_claims"),
        ({"sub": " a"}, "bad_claims"),
        ({"scope": ["pipelines:run"]}, "bad_claims"),
    ],
)
async def test_claims_that_are_not_right_are_refused(changes: dict[str, Any], reason: str) -> None:
    assert await reason_of(verifier_of(), token_of(**({"user": "t"} | changes))) == reason


async def test_thirty_seconds_are_forgiven() -> None:
    now = Now()
    verifier = verifier_of(now=now)
    expiring = token_of(exp=int(now()) + 5)
    coming = token_of(nbf=int(now()) + 25)

    now.offset = 20
    assert (await verifier.verify(expiring)).user_id == "teacher"
    now.offset = 0
    assert (await verifier.verify(coming)).user_id == "teacher"


async def test_a_token_that_is_remembered_ends_all_the_same() -> None:
    now = Now()
    verifier = verifier_of(now=now)
    token = token_of(exp=int(now()) + 60)

    await verifier.verify(token)
    now.offset = 89
    await verifier.verify(token)
    now.offset = 91

    assert await reason_of(verifier, token) == "expired"
    assert await reason_of(verifier, token) == "expired"


async def test_a_token_without_a_signature_is_refused() -> None:
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        assert await reason_of(verifier_of(), unsigned_token(algorithm)) == "bad_algorithm"
    stripped = token_of().rpartition(".")[0] + "."
    assert await reason_of(verifier_of(), stripped) == "bad_signature"


async def test_a_public_key_is_never_taken_for_a_secret() -> None:
    """HS256, signed with the text of the public key that everybody may have."""
    header, claims, _ = token_of().split(".")
    signed = hmac.digest(RSA.as_pem(private=False), f"{header}.{claims}".encode(), "sha256")
    token = f"{header}.{claims}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"

    assert await reason_of(verifier_of(RSA, "RS256"), token) == "bad_algorithm"
    # Not even where both are, by mistake, set.
    assert await reason_of(verifier_of(RSA, "RS256", "HS256"), token) == "unknown_key"


async def test_another_algorithm_than_the_key_s_is_refused() -> None:
    token = token_of(key=RSA, algorithm="RS256")

    assert await reason_of(verifier_of(RSA, "RS256"), with_header(token, alg="PS256")) == (
        "bad_algorithm"
    )
    assert await reason_of(verifier_of(RSA, "RS256", "PS256"), with_header(token, alg="PS256")) == (
        "bad_signature"
    )


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": OTHER_RSA.as_dict(private=False)},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/key.pem"},
        {"kid": "../../dev/null"},
        {"kid": OTHER_RSA.thumbprint()},
    ],
)
async def test_a_token_brings_no_key_of_its_own(header: dict[str, Any]) -> None:
    lenient = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    token = jwt.encode({"alg": "RS256"} | header, claims_of(), OTHER_RSA, registry=lenient)

    assert await reason_of(verifier_of(RSA, "RS256"), token) in {"bad_signature", "malformed"}


async def test_a_signature_of_zeros_is_refused() -> None:
    """Of ECDSA some libraries take it for any text and key."""
    signed = token_of(key=EC, algorithm="ES256").rpartition(".")[0]
    zeros = base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode()

    assert await reason_of(verifier_of(EC, "ES256"), f"{signed}.{zeros}") == "bad_signature"


async def test_another_s_signature_is_refused() -> None:
    token = token_of(key=OTHER_RSA, algorithm="RS256")

    assert await reason_of(verifier_of(RSA, "RS256"), token) == "bad_signature"


async def test_a_changed_claim_is_refused() -> None:
    header, _, signature = token_of().split(".")
    claims = base64.urlsafe_b64encode(json.dumps(claims_of("somebody else")).encode()).rstrip(b"=")

    token = f"{header}.{claims.decode()}.{signature}"

    assert await reason_of(verifier_of(), token) == "bad_signature"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"kid": 7},
        {"b64": False, "crit": ["b64"]},
    ],
)
async def test_a_header_that_asks_for_something_else_is_refused(header: dict[str, object]) -> None:
    encoded = base64.urlsafe_b64encode(json.dumps({"alg": "HS256"} | header).encode()).rstrip(b"=")
    token = encoded.decode() + token_of()[token_of().index(".") :]

    assert await reason_of(verifier_of(), token) in {"malformed", "bad_signature"}


async def test_header_fields_that_nobody_knows_are_passed_over() -> None:
    lenient = jws.JWSRegistry(strict_check_header=False)
    token = jwt.encode({"alg": "HS256", "x": "y"}, claims_of(), SECRET_KEY, registry=lenient)

    assert (await verifier_of().verify(token)).user_id == "teacher"


async def test_no_token_is_a_reason_of_its_own() -> None:
    assert await reason_of(verifier_of(), None) == "missing"


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b", "a.b.c.d.e", "é.é.é", "e30.e30.e30", f"{'e30' * 3000}..", "[].[]."],
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    assert await reason_of(verifier_of(), token) in {"malformed", "bad_algorithm"}


@tries(200)
@given(st.data())
async def test_nothing_but_a_refusal_comes_of_damage(data: st.DataObject) -> None:
    token = token_of()
    place = data.draw(st.integers(0, len(token) - 1))
    damaged = token[:place] + data.draw(st.text(max_size=3)) + token[place + 1 :]
    verifier = verifier_of()

    try:
        principal = await verifier.verify(damaged)
    except UnauthenticatedError:
        return
    assert principal == await verifier.verify(token)


def test_a_public_key_is_read_from_a_file(tmp_path: Path) -> None:
    keys: tuple[RSAKey | ECKey, ...] = (RSA, EC)
    for number, key in enumerate(keys):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(key.as_pem(private=False))
        assert public_key(path).thumbprint() == key.thumbprint()


def test_a_private_key_or_none_stops_the_start(tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(RSA.as_pem(private=True))
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")

    for path in (private, nothing, tmp_path / "away.pem"):
        with pytest.raises(SettingsError, match="API_GATEWAY_JWT_PUBLIC_KEY_FILE"):
            public_key(path)
