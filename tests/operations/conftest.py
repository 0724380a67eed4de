import uuid

import pytest

from tests.support.stack import stack

__all__ = ["stack"]


@pytest.fixture
def batch() -> str:
    return f"batch-{uuid.uuid4().hex}"
