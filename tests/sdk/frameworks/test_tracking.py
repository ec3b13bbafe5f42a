"""Calls that do not pass through Farebox are told to it by the callbacks; those that do are not told again."""

import sys
from pathlib import Path

import litellm
import pytest
from langchain_openai import ChatOpenAI
from wishes import KEY, QUESTION

from accounts import cost_in_pico_dollars, cost_of, tokens_of
from processes import json_of, until

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "integrations" / "python" / "src"))

from farebox._tell import Teller  # noqa: E402
from farebox.langchain import FareboxCallbackHandler  # noqa: E402
from farebox.litellm import FareboxLogger  # noqa: E402

MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def run(call):
    """By which the rows of a test are found."""
    return call.replace("/", ".")


def rows_of(accounts, run, count):
    """The rows of a run, once there are so many."""

    def found():
        rows = json_of(f"{accounts.admin_url}/api/usage/events?run={run}")["events"]
        return rows if len(rows) >= count else None

    return until(found, f"{count} row(s) of {run}")


def direct(accounts):
    return f"{accounts.simulator_url}/openai/v1"


def agrees(accounts, call, row):
    """The row has what the provider charged for a call that Farebox did not see."""
    [attempt] = accounts.attempts(call)
    assert row["decision"] == "tracked"
    assert tokens_of(row) == attempt["usage"]
    assert cost_of(row) == cost_in_pico_dollars(attempt["model"], attempt["usage"])


@pytest.mark.parametrize("streamed", [False, True])
def test_langchain_directly(url, accounts, call, run, streamed):
    handler = FareboxCallbackHandler(accounts.admin_url, farebox_url=url, run=run, team="research")
    headers = {"x-client-request-id": call}
    model = ChatOpenAI(
        base_url=direct(accounts), api_key=KEY, model="gpt-4o-mini", max_retries=0, default_headers=headers,
        stream_usage=True, callbacks=[handler],
    )
    if streamed:
        assert "".join(chunk.text for chunk in model.stream(QUESTION))
    else:
        assert model.invoke(QUESTION).text
    assert handler.flush()
    [row] = rows_of(accounts, run, 1)
    agrees(accounts, call, row)
    assert row["team"] == "research"


def test_langchain_through_farebox(url, accounts, call, run):
    handler = FareboxCallbackHandler(accounts.admin_url, farebox_url=url, run=run)
    headers = {"x-client-request-id": call, "x-farebox-run": run}
    settings = {"api_key": KEY, "model": "gpt-4o-mini", "max_retries": 0, "default_headers": headers, "callbacks": [handler]}
    assert ChatOpenAI(base_url=f"{url}/v1", **settings).invoke(QUESTION).text
    # By another name of the same Farebox, the answer's header tells.
    elsewhere = url.replace("127.0.0.1", "localhost")
    assert ChatOpenAI(base_url=f"{elsewhere}/v1", include_response_headers=True, **settings).invoke(QUESTION).text
    assert handler.flush()
    accounts.agree(call, 2)
    rows = rows_of(accounts, run, 2)
    assert len(rows) == 2 and all(row["decision"] != "tracked" for row in rows)


def test_litellm_directly(url, accounts, call, run):
    logger = FareboxLogger(accounts.admin_url, farebox_url=url, run=run)
    litellm.callbacks = [logger]
    try:
        headers = {"x-client-request-id": call}
        litellm.completion(
            model="openai/gpt-4o-mini", api_base=direct(accounts), api_key=KEY, messages=MESSAGES, extra_headers=headers
        )
        [row] = rows_of(accounts, run, 1)
    finally:
        litellm.callbacks = []
    agrees(accounts, call, row)


def test_litellms_router_with_farebox_as_a_deployment(url, accounts, call, run):
    logger = FareboxLogger(accounts.admin_url, farebox_url=url, run=run)
    litellm.callbacks = [logger]
    try:
        deployment = {"model": "openai/gpt-4o-mini", "api_base": f"{url}/v1", "api_key": KEY}
        router = litellm.Router(model_list=[{"model_name": "cheap", "litellm_params": deployment}], num_retries=0)
        headers = {"x-client-request-id": call, "x-farebox-run": run}
        assert router.completion(model="cheap", messages=MESSAGES, extra_headers=headers).choices
        accounts.agree(call)
        assert logger.flush()
        [row] = rows_of(accounts, run, 1)
    finally:
        litellm.callbacks = []
    assert row["decision"] != "tracked"


def test_what_is_told_twice_is_booked_once_and_what_is_refused_is_dropped(accounts, run):
    teller = Teller(accounts.admin_url)
    usage = {"id": f"{run}/1", "provider": "openai", "model": "gpt-4o", "run": run, "usage": {"input_tokens": 7}}
    teller.tell(usage)
    teller.tell(usage)
    teller.tell({**usage, "id": f"{run}/2", "usage": {"tokens": 7}})
    assert teller.flush()
    assert len(rows_of(accounts, run, 1)) == 1
    assert teller.dropped == 1
