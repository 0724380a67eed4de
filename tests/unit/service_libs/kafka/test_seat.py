"""Where a member is, as the broker and its successors see it."""

import socket

import pytest

from batch_conductor_service.config import Settings as ConductorSettings
from batch_conductor_service.providers.kafka import consumer_policy
from batch_conductor_service.providers.stores import worker_name
from batch_orchestrator_service.config import Settings as OrchestratorSettings
from batch_orchestrator_service.providers.consuming import ConsumingProvider
from service_libs.kafka.policy import SourcePolicy, seat_at


def policy(**fields: object) -> SourcePolicy:
    known: dict[str, object] = {"bootstrap_servers": "k:1", "group_id": "g", "client_id": "service"}
    return SourcePolicy(**known | fields)  # type: ignore[arg-type] # whatever a test gives


def test_a_seat_is_an_address_of_this_host() -> None:
    assert seat_at("127.0.0.1", 4002) == f"{socket.gethostname()}/127.0.0.1:4002"
    assert len({seat_at("::", 1), seat_at("::", 2), seat_at("127.0.0.1", 2)}) == 3


def test_a_port_that_the_system_chooses_is_no_seat() -> None:
    assert seat_at("127.0.0.1", 0) is None


def test_the_client_id_tells_the_seat() -> None:
    assert policy().member_client_id == "service"
    assert policy(seat="here").member_client_id == "service@here"


@pytest.mark.parametrize(("session", "heartbeat"), [(10, 1), (60, 1), (1.5, 0.5)])
def test_heartbeats_are_frequent_enough_for_the_session_and_for_others(
    session: float, heartbeat: float
) -> None:
    assert policy(session_timeout_seconds=session).heartbeat_seconds == heartbeat


def test_members_and_workers_of_the_services_are_at_the_address_that_they_serve_at() -> None:
    conductor = ConductorSettings(http_host="127.0.0.1", http_port=4012)
    orchestrator = OrchestratorSettings(http_host="127.0.0.1", http_port=5012)

    assert consumer_policy(conductor).seat == seat_at("127.0.0.1", 4012)
    assert worker_name(conductor) == seat_at("127.0.0.1", 4012)
    made = ConsumingProvider().loop_policy(orchestrator)
    assert made.seat == seat_at("127.0.0.1", 5012)


def test_without_a_seat_no_two_workers_have_one_name() -> None:
    settings = ConductorSettings(http_port=0)

    assert worker_name(settings) != worker_name(settings)
