"""What the tests share: one simulated provider and one Farebox in front of it, each test under a name of its own."""

import itertools

import pytest

pytest.register_assert_rewrite("accounts", "processes")

from accounts import Accounts  # noqa: E402
from processes import Farebox, Simulator  # noqa: E402

# Run by test_elsewhere.py in their own environment.
collect_ignore = ["frameworks"]
NUMBERS = itertools.count(1)


def configuration(simulator_url, more=""):
    """A provider of each dialect, all simulated; the caller's key passes through."""
    return f"""
providers:
  - name: openai
    base_url: {simulator_url}/openai/v1
    key: caller
  - name: anthropic
    base_url: {simulator_url}/anthropic
    key: caller
  - name: gemini
    base_url: {simulator_url}/gemini
    key: caller
{more}"""


@pytest.fixture(scope="session")
def simulator():
    simulator = Simulator()
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def farebox(simulator, tmp_path_factory):
    farebox = Farebox(tmp_path_factory.mktemp("farebox"), configuration(simulator.url))
    yield farebox
    assert farebox.stop() == 0, farebox.said()


@pytest.fixture(scope="session")
def accounts(simulator, farebox):
    return Accounts(simulator.url, farebox.admin)


@pytest.fixture
def call(request):
    """The client request id by which a test finds its calls again in both books."""
    return f"{request.node.name}/{next(NUMBERS)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what Farebox last said."""
    report = yield
    farebox = getattr(item, "funcargs", {}).get("farebox")
    if report.failed and farebox is not None:
        report.sections.append(("Farebox's log", farebox.said()))
    return report
