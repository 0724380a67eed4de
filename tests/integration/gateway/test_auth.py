"""Who gets in, who does not, and what they learn from that."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from api_gateway_service.implementations import key_rings_impl
from api_gateway_service.implementations.key_rings_impl import JwksKeyRing
from tests.support.gateway.app import Gateway, gateway_app, pipelines_path, status_path
from tests.support.gateway.tokens import bearer, rsa_key, token_of, unsigned_token
from tests.support.gateway.web import Web, batch
from tests.support.kafka import running, until

PIPELINES = "/v1/batches/{batch_id}/pipelines"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"Authorization": "Basic dTpw"}, "malformed"),
        ({"Authorization": "Bearer"}, "malformed"),
        ({"Authorization": "Bearer " + "x" * 9000}, "malformed"),
        ({"Authorization": f"Bearer {unsigned_token()}"}, "bad_algorithm"),
        (bearer(exp=1), "expired"),
        (bearer(nbf=2**33), "not_yet_valid"),
        (bearer(iss="somebody"), "wrong_issuer"),
        (bearer(aud="somebody"), "wrong_audience"),
    ],
)
async def test_a_bad_token_is_refused_and_its_reason_stays_here(
    gateway: Gateway, headers: dict[str, str], reason: str
) -> None:
    answer = await gateway.client.get(status_path("batch-1"), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["detail"] == "A valid bearer token is needed."
    assert gateway.sample("gateway_auth_failures_total", reason=reason) == 1


async def test_two_tokens_are_none(gateway: Gateway) -> None:
    headers = [("Authorization", f"Bearer {token_of()}")] * 2

    answer = await gateway.client.get(status_path("batch-1"), headers=headers)

    assert answer.status_code == 401


async def test_a_token_in_the_url_is_none(gateway: Gateway) -> None:
    answer = await gateway.client.get(
        status_path("batch-1"), params={"access_token": token_of(), "token": token_of()}
    )

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", pipelines_path("batch-1"), "batches:read"),
        ("GET", status_path("batch-1"), "pipelines:run"),
        ("GET", "/v1/batches/batch-1/events", "pipelines:run"),
        ("GET", status_path("batch-1"), "batches:reading"),
        ("GET", status_path("batch-1"), ""),
    ],
)
async def test_a_token_without_the_scope_is_not_enough(
    gateway: Gateway, method: str, path: str, scope: str
) -> None:
    answer = await gateway.client.request(method, path, headers=bearer(scope=scope), json={})

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


async def test_below_v1_nobody_learns_what_there_is_without_a_token(gateway: Gateway) -> None:
    without = await gateway.client.get("/v1/whatever")
    with_token = await gateway.client.get("/v1/whatever", headers=bearer())
    elsewhere = await gateway.client.get("/whatever")

    assert without.status_code == 401
    assert (with_token.status_code, with_token.json()["code"]) == (404, "not_found")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "not_found")


async def test_in_development_everybody_may_be_one_user(web: Web, batch_id: str) -> None:
    web.put(batch(batch_id, user="developer"))

    async with gateway_app(
        environment="development", auth_mode="disabled", jwt_secret=None, bos_url=web.url
    ) as gateway:
        answer = await gateway.client.get(status_path(batch_id))

    assert answer.status_code == 200


class TestKeysFromAUrl:
    """An identity service publishes its keys, changes them, and may be away."""

    @pytest.fixture
    async def keyed(self, web: Web, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
        monkeypatch.setattr(key_rings_impl, "COOLDOWN_SECONDS", 0.2)
        async with gateway_app(
            jwt_secret=None,
            jwt_algorithms=["RS256"],
            jwt_jwks_url=f"{web.url}/jwks",
            bos_url=web.url,
        ) as gateway:
            yield gateway

    async def ask(self, gateway: Gateway, token: str) -> int:
        answer = await gateway.client.get(
            status_path("batch-1"), headers={"Authorization": f"Bearer {token}"}
        )
        return answer.status_code

    async def test_a_token_of_a_published_key_is_taken(self, keyed: Gateway, web: Web) -> None:
        web.put(batch("batch-1"))
        web.keys = [rsa_key("one"), rsa_key("two")]

        for key in web.keys:
            token = token_of(key=key, algorithm="RS256", kid=key.kid)
            assert await self.ask(keyed, token) == 200

        assert web.asked["/jwks"] == 1

    async def test_a_key_that_is_new_is_found_at_once(self, keyed: Gateway, web: Web) -> None:
        web.put(batch("batch-1"))
        old, new = rsa_key("old"), rsa_key("new")
        web.keys = [old]
        await self.ask(keyed, token_of(key=old, algorithm="RS256", kid="old"))
        await asyncio.sleep(0.25)
        web.keys = [new]

        taken = await self.ask(keyed, token_of(key=new, algorithm="RS256", kid="new"))
        withdrawn = await self.ask(keyed, token_of(key=old, algorithm="RS256", kid="old"))

        assert (taken, withdrawn) == (200, 401)

    async def test_a_token_that_was_taken_is_not_once_its_key_is_withdrawn(
        self, keyed: Gateway, web: Web
    ) -> None:
        web.put(batch("batch-1"))
        old, new = rsa_key("old"), rsa_key("new")
        web.keys = [old]
        token = token_of(key=old, algorithm="RS256", kid="old")
        assert await self.ask(keyed, token) == 200
        await asyncio.sleep(0.25)
        web.keys = [new]

        await self.ask(keyed, token_of(key=new, algorithm="RS256", kid="new"))

        assert await self.ask(keyed, token) == 401

    async def test_unknown_keys_do_not_have_the_url_asked_again_and_again(
        self, keyed: Gateway, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(key_rings_impl, "COOLDOWN_SECONDS", 5)
        key, other = rsa_key("one"), rsa_key("other")
        web.keys = [key]

        tokens = [token_of(key=other, algorithm="RS256", kid=f"unknown-{n}") for n in range(20)]
        statuses = await asyncio.gather(*(self.ask(keyed, token) for token in tokens))

        assert set(statuses) == {401}
        assert web.asked["/jwks"] == 1
        assert keyed.sample("gateway_auth_failures_total", reason="unknown_key") == 20

    async def test_the_last_keys_are_kept_while_the_url_is_away(
        self, keyed: Gateway, web: Web
    ) -> None:
        web.put(batch("batch-1"))
        key = rsa_key("one")
        web.keys = [key]
        assert await self.ask(keyed, token_of(key=key, algorithm="RS256", kid="one")) == 200
        await asyncio.sleep(0.25)
        web.keys = []

        unknown = await self.ask(keyed, token_of(key=key, algorithm="RS256", kid="other"))
        known = await self.ask(keyed, token_of("t", key=key, algorithm="RS256", kid="one"))

        assert (unknown, known) == (401, 404)  # the batch is another's

    async def test_keys_are_looked_for_again_while_it_runs(
        self, keyed: Gateway, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """First while there are none, then for new ones, though nobody asks for any."""
        monkeypatch.setattr(key_rings_impl, "REFRESH_SECONDS", 0.05)
        ring = await keyed.container.get(JwksKeyRing)
        web.broken = (500, b"")

        async with running(ring):
            await until(lambda: web.asked["/jwks"] >= 2)
            web.keys, web.broken = [rsa_key("one")], None
            await until(lambda: ring.version == 1)
            web.keys = [rsa_key("two")]
            await until(lambda: ring.version == 2)

    async def test_without_any_key_nobody_is_blamed(self, keyed: Gateway, web: Web) -> None:
        web.broken = (500, b"")
        token = token_of(key=rsa_key("one"), algorithm="RS256", kid="one")

        answer = await keyed.client.get(
            status_path("batch-1"), headers={"Authorization": f"Bearer {token}"}
        )

        assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
        assert answer.json()["retryable"] is True

    @pytest.mark.parametrize(
        "published",
        [b"{}", b"[]", b"<html>", b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', b"x" * 2**21],
        ids=["no-keys", "a-list", "html", "a-secret", "endless"],
    )
    async def test_what_is_no_set_of_public_keys_is_none(
        self, keyed: Gateway, web: Web, published: bytes
    ) -> None:
        web.broken = (200, published)

        assert await self.ask(keyed, token_of()) == 401  # HS256 is no algorithm here
        key = rsa_key("one")
        assert await self.ask(keyed, token_of(key=key, algorithm="RS256", kid="one")) == 503

    async def test_keys_that_are_not_understood_hide_no_others(
        self, keyed: Gateway, web: Web
    ) -> None:
        web.put(batch("batch-1"))
        key = rsa_key("one")
        strange = [
            {"kty": "new"},
            {"kty": "RSA"},
            7,
            {"kty": "RSA", "use": "enc", "n": "", "e": ""},
        ]
        web.broken = (200, json.dumps({"keys": [*strange, key.as_dict(private=False)]}).encode())

        token = token_of(key=key, algorithm="RS256", kid="one")
        await self.ask(keyed, token)
        web.broken = None

        assert await self.ask(keyed, token) == 200
