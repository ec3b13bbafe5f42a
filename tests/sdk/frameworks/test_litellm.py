"""LiteLLM's SDK."""

import json

import litellm
import pytest
from wishes import CHAT_TOOL, KEY, PNG_URL, QUESTION, City

ASK = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def options(url, call):
    headers = {"x-client-request-id": call}
    return {"api_base": f"{url}/v1", "api_key": KEY, "max_retries": 0, "num_retries": 0, "extra_headers": headers}


def test_chat(options, accounts, call):
    answer = litellm.completion("openai/gpt-4o-mini", ASK, **options)
    [row] = accounts.agree(call)
    assert answer.usage.completion_tokens == row["output_tokens"]


def test_stream(options, accounts, call):
    chunks = list(litellm.completion("openai/gpt-4o-mini", ASK, stream=True, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    accounts.agree(call)


def test_stream_with_usage(options, accounts, call):
    asked = {"include_usage": True}
    chunks = list(litellm.completion("openai/gpt-4o-mini", ASK, stream=True, stream_options=asked, **options))
    [row] = accounts.agree(call)
    assert [chunk.usage.completion_tokens for chunk in chunks if getattr(chunk, "usage", None)] == [row["output_tokens"]]


def test_tools(options, accounts, call):
    answer = litellm.completion("openai/gpt-4o-mini", ASK, tools=[CHAT_TOOL], tool_choice="required", **options)
    [wanted] = answer.choices[0].message.tool_calls
    assert json.loads(wanted.function.arguments)["unit"] == "celsius"
    accounts.agree(call)


def test_json_schema(options, accounts, call):
    answer = litellm.completion("openai/gpt-4o-mini", ASK, response_format=City, **options)
    assert City.model_validate_json(answer.choices[0].message.content)
    accounts.agree(call)


def test_vision(options, accounts, call):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    litellm.completion("openai/gpt-4o", [{"role": "user", "content": content}], **options)
    accounts.agree(call)


def test_embeddings(options, accounts, call):
    answer = litellm.embedding("openai/text-embedding-3-small", ["one text", "and another"], **options)
    assert len(answer.data) == 2
    accounts.agree(call)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_responses(options, accounts, call, stream):
    answer = litellm.responses(model="openai/gpt-4o-mini", input=QUESTION, stream=stream, **options)
    assert list(answer) if stream else answer.output
    accounts.agree(call)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_anthropic(options, accounts, call, url, stream):
    options["api_base"] = f"{url}/anthropic"
    answer = litellm.completion("anthropic/claude-sonnet-4-6", ASK, max_tokens=100, stream=stream, **options)
    assert list(answer) if stream else answer.choices[0].message.content
    accounts.agree(call)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, litellm.BadRequestError), (429, litellm.RateLimitError), (500, litellm.InternalServerError)],
)
def test_errors(options, accounts, call, status, error):
    options["extra_headers"] |= {"x-sim-status": str(status), "x-sim-retry-after": "7"}
    with pytest.raises(error):
        litellm.completion("openai/gpt-4o-mini", ASK, **options)
    accounts.agree(call)
