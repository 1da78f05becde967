"""What a test needs and this machine lacks."""

import os
from typing import NoReturn

import pytest


def skip(reason: str) -> NoReturn:
    """Skips the test, or fails it in continuous integration, where everything that tests need is installed."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason)
    pytest.skip(reason)
