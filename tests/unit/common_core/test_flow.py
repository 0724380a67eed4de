"""What passes between the services, and what is said of it."""

from uuid import UUID

import pytest
from pydantic import ValidationError

from common_core.flow import ClientBatchPipelineRequestV1


def test_what_is_wrong_with_a_client_s_request_does_not_repeat_what_he_wrote() -> None:
    """The error of one that we could not write would be logged with its traceback."""
    secret = "a secret " * 100

    with pytest.raises(ValidationError) as caught:
        ClientBatchPipelineRequestV1(
            batch_id="batch-1",
            requested_pipeline="nlp",
            client_correlation_id=UUID(int=1),
            user_id="teacher",
            retry_reason=secret,
        )

    assert "retry_reason" in str(caught.value)
    assert "secret" not in str(caught.value)
