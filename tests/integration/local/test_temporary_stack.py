"""Servers for a measurement: there for its time, and gone with all they had."""

from local_stack.ports import accepts_connections
from local_stack.stack import temporary_stack


def test_nothing_is_left_of_it() -> None:
    with temporary_stack() as stack:
        ports = [stack.valkey.port, stack.postgres.port, stack.kafka.port]
        assert all(map(accepts_connections, ports))
        places = [stack.directory, stack.postgres._data]
        assert all(place.exists() for place in places)

    assert not any(map(accepts_connections, ports))
    assert not any(place.exists() for place in places)
