"""`integrations/python`, from its folder, with the real SDKs: two lines, and the ledger knows whose the calls are."""

import sys
from pathlib import Path

import anthropic
import openai
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integrations" / "python" / "src"))

import farebox as integration  # noqa: E402
from wishes import KEY, QUESTION  # noqa: E402

MESSAGES = [{"role": "user", "content": QUESTION}]


def headers_of(client):
    return {name.lower(): value for name, value in client.default_headers.items()}


@pytest.fixture(autouse=True)
def taken_back():
    yield
    integration.reset()


def test_clients_made_afterwards_call_through_farebox_and_say_whose_they_are(farebox, accounts, call):
    integration.configure(farebox.url, team="research", user="ann", end_user="customer-7", tags={"feature": "search"})
    named = {"x-client-request-id": call}
    with openai.OpenAI(api_key=KEY, default_headers=named) as client:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with anthropic.Anthropic(api_key=KEY, default_headers=named) as client:
        client.messages.create(model="claude-sonnet-4-6", max_tokens=64, messages=MESSAGES)
    rows = accounts.agree(call, 2)
    for row in rows:
        assert (row["team"], row["user"], row["end_user"]) == ("research", "ann", "customer-7")
        assert row["tags"] == {"feature": "search"}
    assert {row["dialect"] for row in rows} == {"openai", "anthropic"}


def test_what_a_client_is_given_stays_and_reset_takes_all_back(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    integration.configure("http://127.0.0.1:9", key="fb-key", team="research")
    elsewhere = openai.OpenAI(base_url="http://127.0.0.1:8/v1", api_key=KEY)
    assert str(elsewhere.base_url) == "http://127.0.0.1:8/v1/"
    assert "x-farebox-team" not in headers_of(elsewhere)
    own = openai.OpenAI(default_headers={"X-Farebox-Team": "sales"})
    assert (str(own.base_url), own.api_key) == ("http://127.0.0.1:9/v1/", "fb-key")
    assert headers_of(own)["x-farebox-team"] == "sales"
    integration.reset()
    assert str(openai.OpenAI(api_key=KEY).base_url) == "https://api.openai.com/v1/"


def test_what_no_header_can_hold_is_refused_before_any_call():
    for wrong in [{"team": "a\r\nx: y"}, {"user": ""}, {"tags": {"a b": "c"}}, {"session": "é"}]:
        with pytest.raises(ValueError):
            integration.headers(**wrong)
    with pytest.raises(ValueError):
        integration.configure("127.0.0.1:4000")
