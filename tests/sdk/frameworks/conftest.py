"""Tests that run in the environment of the frameworks, against the servers that the outer tests have started."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
# LiteLLM would fetch a price list, and LangChain would send traces: nothing leaves the machine.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false", DO_NOT_TRACK="1")

pytest.register_assert_rewrite("accounts", "processes")

from accounts import Accounts  # noqa: E402


@pytest.fixture(scope="session")
def accounts():
    return Accounts.of_environment()


@pytest.fixture
def url():
    return os.environ["TEST_FAREBOX"]


@pytest.fixture
def call(request):
    return f"{request.module.__name__}/{request.node.name}"
