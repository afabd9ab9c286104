"""What the tests of the models start from."""

from collections.abc import Iterator

import pytest
from jaxtyping import config


@pytest.fixture
def as_for_users() -> Iterator[None]:
    """Without the types being checked, as they are in tests alone: a mistake meets our answer."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
