from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.support.api import DEFINE, TestedApp, assert_problem

UNPRINTABLE = [
    *"\x00\x07\x08\t\n\r\x1b\x7f\x80\x9b\x9d",
    *"\u061c\u200e\u2028\u202e\u2066\u2069",
]
QUESTION = {"batch_id": "batch-1", "requested_pipeline": "nlp"}


async def test_a_correlation_id_is_given_back(tested: TestedApp) -> None:
    response = await tested.client.get("/livez", headers={"X-Correlation-ID": "from-the-caller"})

    assert response.headers["X-Correlation-ID"] == "from-the-caller"


async def test_a_correlation_id_is_made_when_the_caller_has_none(tested: TestedApp) -> None:
    first, second = [await tested.define() for _ in range(2)]

    UUID(first.headers["X-Correlation-ID"])
    assert first.headers["X-Correlation-ID"] != second.headers["X-Correlation-ID"]
    body = await first.get_json()
    assert body["correlation_id"] == first.headers["X-Correlation-ID"]


async def test_the_bodys_correlation_id_goes_before_the_headers(tested: TestedApp) -> None:
    response = await tested.client.post(
        DEFINE,
        json=QUESTION | {"correlation_id": "in-the-body"},
        headers={"X-Correlation-ID": "in-the-header"},
    )

    assert response.headers["X-Correlation-ID"] == "in-the-body"
    assert (await response.get_json())["correlation_id"] == "in-the-body"
    assert tested.announcer.resolutions[0].request.correlation_id == "in-the-body"


async def test_the_headers_correlation_id_serves_when_the_body_has_none(
    tested: TestedApp,
) -> None:
    response = await tested.client.post(
        DEFINE, json=QUESTION, headers={"X-Correlation-ID": "in-the-header"}
    )

    assert (await response.get_json())["correlation_id"] == "in-the-header"


@pytest.mark.parametrize(
    "odd", ["☂ umbrella", "Zoë/42?", " padded ", "'; DROP TABLE", "👩‍🔬", "<b>", "ünïcödé" * 14]
)
async def test_an_odd_correlation_id_is_carried_as_it_is_but_not_in_the_header(
    tested: TestedApp, odd: str
) -> None:
    response = await tested.define(correlation_id=odd)

    assert (await response.get_json())["correlation_id"] == odd
    assert tested.announcer.resolutions[0].request.correlation_id == odd
    carried = odd.isascii() and odd == odd.strip()
    assert response.headers.get("X-Correlation-ID") == (odd if carried else None)


@pytest.mark.parametrize("character", UNPRINTABLE)
async def test_a_correlation_id_that_a_terminal_would_obey_is_refused(
    tested: TestedApp, character: str
) -> None:
    response = await tested.define(correlation_id=f"c{character}1")

    body = await response.get_json()
    assert_problem(response, body, 400, "invalid_request")
    assert [error["field"] for error in body["errors"]] == ["correlation_id"]
    assert character not in await response.get_data(as_text=True)
    UUID(body["correlation_id"])


@pytest.mark.parametrize("character", [c for c in UNPRINTABLE if c not in "\r\n"])  # no header has
async def test_such_a_header_makes_way_for_a_new_id(tested: TestedApp, character: str) -> None:
    response = await tested.client.post(
        DEFINE, json=QUESTION, headers={"X-Correlation-ID": f"c{character}1"}
    )

    assert response.status_code == 200
    UUID((await response.get_json())["correlation_id"])
    UUID(response.headers["X-Correlation-ID"])


@pytest.mark.parametrize("character", UNPRINTABLE)
async def test_a_pipelines_name_is_repeated_without_what_a_terminal_would_obey(
    tested: TestedApp, character: str
) -> None:
    response = await tested.define(requested_pipeline=f"p{character}1")

    assert response.status_code == 404
    assert character not in (await response.get_json())["detail"]


@pytest.mark.parametrize("given", ["x" * 101, "tab\tinside", "", "☂"])
async def test_a_header_that_cannot_be_given_back_as_it_is_makes_way_for_a_new_id(
    tested: TestedApp, given: str
) -> None:
    response = await tested.client.get("/livez", headers={"X-Correlation-ID": given})

    UUID(response.headers["X-Correlation-ID"])


async def test_the_longest_header_is_given_back_whole(tested: TestedApp) -> None:
    response = await tested.client.get("/livez", headers={"X-Correlation-ID": "x" * 100})

    assert response.headers["X-Correlation-ID"] == "x" * 100


async def test_a_request_is_measured_by_its_route(tested: TestedApp) -> None:
    await tested.define()

    route = {"method": "POST", "endpoint": DEFINE}
    assert await tested.sample("bcs_http_requests_total", **route, status_code="200") == 1
    assert await tested.sample("bcs_http_request_duration_seconds_count", **route) == 1


async def test_a_request_with_another_method_is_measured_by_its_route(tested: TestedApp) -> None:
    await tested.client.put(DEFINE, json=QUESTION)

    route = {"method": "PUT", "endpoint": DEFINE, "status_code": "405"}
    assert await tested.sample("bcs_http_requests_total", **route) == 1


async def test_a_request_is_one_line_in_the_log(tested: TestedApp) -> None:
    with capture_logs() as logs:
        await tested.define(correlation_id="c-1")

    (line,) = [entry for entry in logs if entry["event"] == "request_answered"]
    assert line["endpoint"] == DEFINE
    assert line["status"] == 200


class TestServiceToken:
    @pytest.fixture
    def tested(self) -> TestedApp:
        return TestedApp(service_token="s3cret")

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer wrong", "s3cret", "Basic s3cret", "Bearer ü", "ü"]
    )
    async def test_without_the_right_token_nobody_is_let_in(
        self, tested: TestedApp, header: str | None
    ) -> None:
        headers = {} if header is None else {"Authorization": header}

        response = await tested.client.post(DEFINE, json=QUESTION, headers=headers)

        body = await response.get_json()
        assert_problem(response, body, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"].lower().startswith("bearer")
        assert not tested.announcer.failures
        assert not tested.announcer.resolutions

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    async def test_with_the_token_the_question_is_answered(
        self, tested: TestedApp, scheme: str
    ) -> None:
        response = await tested.client.post(
            DEFINE, json=QUESTION, headers={"Authorization": f"{scheme} s3cret"}
        )

        assert response.status_code == 200

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/metrics"])
    async def test_orchestrators_and_prometheus_need_none(
        self, tested: TestedApp, path: str
    ) -> None:
        response = await tested.client.get(path)

        assert response.status_code != 401

    async def test_a_stranger_does_not_learn_which_routes_exist(self, tested: TestedApp) -> None:
        response = await tested.client.get("/internal/v1/nowhere")

        assert response.status_code == 401
