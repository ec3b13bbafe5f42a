"""What a budget's no does to the real clients: each sends the request once, and says what the message says."""

import re
import urllib.request

import anthropic
import openai
import pytest
from conftest import configuration
from google import genai
from google.genai import errors as gemini_errors
from processes import Farebox
from wishes import KEY, QUESTION

RULES = """version: 1
budgets:
  - {name: tiny, window: month, limit: 0.0001 USD, clamp: no}
limits:
  - {name: once, when: {user: hasty}, requests_per_minute: 1}
"""
MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def frugal(simulator, tmp_path_factory):
    place = tmp_path_factory.mktemp("frugal")
    (place / "rules").mkdir()
    (place / "rules" / "house.yaml").write_text(RULES)
    farebox = Farebox(place, configuration(simulator.url))
    yield farebox
    assert farebox.stop() == 0, farebox.said()


def refusals(farebox, kind):
    with urllib.request.urlopen(f"{farebox.admin}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    counted = re.findall(rf'^farebox_refusals_total{{[^}}]*kind="{kind}"[^}}]*}} (\d+)', metrics, re.MULTILINE)
    return sum(map(int, counted))


def test_openai_sends_a_request_that_the_budget_refuses_once(frugal):
    before = refusals(frugal, "budget_exceeded")
    with openai.OpenAI(base_url=f"{frugal.url}/v1", api_key=KEY, max_retries=3) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert refused.value.code == "insufficient_quota" and "tiny" in refused.value.message
        with pytest.raises(openai.RateLimitError):
            client.responses.create(model="gpt-4o", input=QUESTION, stream=True)
    assert refusals(frugal, "budget_exceeded") == before + 2


def test_anthropic_sends_a_request_that_the_budget_refuses_once(frugal):
    before = refusals(frugal, "budget_exceeded")
    with anthropic.Anthropic(base_url=f"{frugal.url}/anthropic", api_key=KEY, max_retries=3) as client:
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.create(model="claude-sonnet-5-5", max_tokens=5_000, messages=MESSAGES)
    assert refused.value.status_code == 402 and "tiny" in str(refused.value)
    assert refusals(frugal, "budget_exceeded") == before + 1


def test_gemini_sends_a_request_that_the_budget_refuses_once(frugal):
    before = refusals(frugal, "budget_exceeded")
    client = genai.Client(api_key=KEY, http_options={"base_url": f"{frugal.url}/gemini"})
    with pytest.raises(gemini_errors.ClientError) as refused:
        client.models.generate_content(model="gemini-3.8-flash", contents=QUESTION)
    assert refused.value.code == 429 and "tiny" in str(refused.value)
    assert refusals(frugal, "budget_exceeded") == before + 1
