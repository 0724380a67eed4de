"""A broker as a careful operator runs it: topics are made by hand, and rights can be given."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.ports import find_free_port
from tests.support.faults.kraft import KraftBroker

PROPERTIES = {
    "auto.create.topics.enable": "false",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KraftBroker]:
    """A broker that creates no topics, and where rights can be given."""
    port = find_free_port()
    started = KraftBroker(
        tmp_path / "kafka", proxied_port=port, advertised_port=port, properties=PROPERTIES
    )
    started.start()
    yield started
    started.remove()
