"""OpenAI's Python SDK."""

import asyncio
import io
import json
import time

import openai
import pytest
from accounts import cost_of
from wishes import CHAT_TOOL, KEY, PNG_URL, QUESTION, RESPONSES_TOOL, City

MODEL = "gpt-4o-mini"
ASK = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(farebox, call):
    return openai.OpenAI(
        base_url=f"{farebox.url}/v1", api_key=KEY, max_retries=0, default_headers={"x-client-request-id": call}
    )


def test_chat(client, accounts, call):
    answer = client.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.choices[0].message.content
    [row] = accounts.agree(call)
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)


def test_chat_tells_its_cost_in_headers(client, accounts, call):
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    [row] = accounts.agree(call)
    assert answer.headers["x-farebox-exchange-id"] == row["exchange_id"]
    assert answer.headers["x-farebox-cost"] == row["cost_usd"]
    assert answer.headers["x-farebox-usage-source"] == "reported"


def test_a_stream_without_usage_asked_for(client, accounts, call):
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert all(chunk.choices for chunk in chunks), "the chunk of usage is withheld from one who did not ask"
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    accounts.agree(call)


def test_a_stream_with_usage_asked_for(client, accounts, call):
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    [row] = accounts.agree(call)
    assert row["output_tokens"] == chunks[-1].usage.completion_tokens


def test_tools_and_their_results(client, accounts, call):
    first = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=[CHAT_TOOL], tool_choice="required"
    ).choices[0]
    [wanted] = first.message.tool_calls
    assert (first.finish_reason, wanted.function.name) == ("tool_calls", "weather")
    assert json.loads(wanted.function.arguments)["unit"] == "celsius"
    result = {"role": "tool", "tool_call_id": wanted.id, "content": "-3 degrees, snow"}
    second = client.chat.completions.create(
        model=MODEL, messages=[*ASK, first.message, result], tools=[CHAT_TOOL], tool_choice="none"
    )
    assert second.choices[0].message.content
    accounts.agree(call, attempts=2)


def test_streamed_tools(client, accounts, call):
    with client.chat.completions.stream(
        model=MODEL, messages=ASK, tools=[CHAT_TOOL], tool_choice="required"
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert json.loads(choice.message.tool_calls[0].function.arguments)["city"]
    accounts.agree(call)


def test_a_json_schema(client, accounts, call):
    answer = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)
    accounts.agree(call)


def test_vision(client, accounts, call):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}},
    ]
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])
    [row] = accounts.agree(call)
    assert row["input_tokens"] == answer.usage.prompt_tokens


def test_cached_input_is_cheaper(client, accounts, call):
    client.chat.completions.create(model="gpt-4o", messages=ASK, extra_headers={"x-sim-cached-tokens": "10"})
    [row] = accounts.agree(call)
    assert row["cache_read_input_tokens"] == 10


def test_reasoning_is_part_of_the_output(client, accounts, call):
    client.chat.completions.create(model="o4-mini", messages=ASK, extra_headers={"x-sim-reasoning-tokens": "64"})
    [row] = accounts.agree(call)
    assert row["reasoning_output_tokens"] == 64
    assert row["output_tokens"] > 64


def test_a_dated_snapshot_has_its_price(client, accounts, call):
    client.chat.completions.create(model="gpt-4o-2024-08-06", messages=ASK)
    [row] = accounts.agree(call)
    assert row["requested_model"] == "gpt-4o-2024-08-06"


def test_several_choices(client, accounts, call):
    answer = client.chat.completions.create(model=MODEL, messages=ASK, n=3)
    assert len(answer.choices) == 3
    accounts.agree(call)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_completions(client, accounts, call, stream):
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon", max_tokens=20, stream=stream)
    text = "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text
    assert text
    accounts.agree(call)


@pytest.mark.parametrize("encoding", [openai.NOT_GIVEN, "float", "base64"], ids=["by default", "float", "base64"])
def test_embeddings(client, accounts, call, encoding):
    answer = client.embeddings.create(
        model="text-embedding-3-small", input=["one text", "and another"], encoding_format=encoding
    )
    assert len(answer.data) == 2
    [row] = accounts.agree(call)
    assert row["input_tokens"] == answer.usage.prompt_tokens


def test_a_response(client, accounts, call):
    answer = client.responses.create(model=MODEL, input=QUESTION)
    assert answer.output_text
    [row] = accounts.agree(call)
    assert row["output_tokens"] == answer.usage.output_tokens


def test_a_streamed_response(client, accounts, call):
    events = list(client.responses.create(model=MODEL, input=QUESTION, stream=True))
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    accounts.agree(call)


def test_a_response_with_tools(client, accounts, call):
    answer = client.responses.create(model=MODEL, input=QUESTION, tools=[RESPONSES_TOOL], tool_choice="required")
    [wanted] = [item for item in answer.output if item.type == "function_call"]
    assert json.loads(wanted.arguments)["unit"] == "celsius"
    accounts.agree(call)


def test_a_response_by_a_json_schema(client, accounts, call):
    answer = client.responses.parse(model=MODEL, input=QUESTION, text_format=City)
    assert isinstance(answer.output_parsed, City)
    accounts.agree(call)


def test_a_response_that_sees(client, accounts, call):
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PNG_URL}]
    client.responses.create(model="gpt-4o", input=[{"role": "user", "content": content}])
    accounts.agree(call)


def test_a_stored_response_is_fetched_for_nothing(client, accounts, call):
    made = client.responses.create(model=MODEL, input=QUESTION, extra_headers={"x-client-request-id": call + "/made"})
    assert client.responses.retrieve(made.id).id == made.id
    [row] = accounts.agree(call)
    assert cost_of(row) == 0


def test_models_files_and_moderations_pass(client, accounts, call):
    assert client.models.list().data
    assert client.moderations.create(input="A friendly word.").results
    uploaded = client.files.create(file=("calls.jsonl", io.BytesIO(b'{"a":1}\n')), purpose="batch")
    assert client.files.content(uploaded.id).read()
    for _, row in accounts.settled(call, attempts=4):
        assert (row["outcome"], cost_of(row)) == ("ok", 0)


def test_a_refusal_for_the_rate_passes_with_its_retry_after(client, accounts, call):
    with pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(
            model=MODEL, messages=ASK, extra_headers={"x-sim-status": "429", "x-sim-retry-after": "7"}
        )
    assert refusal.value.response.headers["retry-after"] == "7"
    assert refusal.value.code == "rate_limit_exceeded"
    [row] = accounts.agree(call)
    assert row["outcome"] == "provider_rate_limited"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (400, openai.BadRequestError, "provider_invalid_request"),
        (401, openai.AuthenticationError, "provider_auth_failed"),
        (500, openai.InternalServerError, "provider_server_error"),
        (503, openai.InternalServerError, "provider_overloaded"),
    ],
)
def test_a_providers_error_passes(client, accounts, call, status, error, outcome, stream):
    with pytest.raises(error) as refusal:
        client.chat.completions.create(
            model=MODEL, messages=ASK, stream=stream, extra_headers={"x-sim-status": str(status)}
        )
    assert refusal.value.status_code == status
    assert f"simulated {status}" in refusal.value.message
    [row] = accounts.agree(call)
    assert row["outcome"] == outcome


def test_a_request_that_the_provider_does_not_take(client, accounts, call):
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=MODEL, messages=openai.omit)
    assert refusal.value.param == "messages"
    accounts.agree(call)


def test_the_sdk_retries_as_it_would_without_farebox(client, accounts, call):
    patient = client.with_options(max_retries=2)
    wishes = {"x-sim-status": "429", "x-sim-fail-first": "2", "x-sim-id": call, "x-sim-retry-after": "1"}
    answer = patient.chat.completions.create(model=MODEL, messages=ASK, extra_headers=wishes)
    assert answer.choices[0].message.content
    rows = accounts.agree(call, attempts=3)
    assert [row["status"] for row in rows] == [429, 429, 200]
    assert len({row["exchange_id"] for row in rows}) == 3


def test_twenty_calls_at_once(farebox, accounts, call):
    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{farebox.url}/v1", api_key=KEY, max_retries=0) as client:

            async def one(place):
                stream = await client.chat.completions.create(
                    model=MODEL, messages=ASK, stream=True, extra_headers={"x-client-request-id": f"{call}/{place}"}
                )
                return [chunk async for chunk in stream]

            return await asyncio.gather(*(one(place) for place in range(20)))

    assert all(asyncio.run(all_of_them()))
    for place in range(20):
        accounts.agree(f"{call}/{place}")


def test_a_stream_cut_after_three_chunks_is_in_the_ledger_within_a_second(client, accounts, call):
    """At the best of three: the machine may be busy with something else."""
    waited = []
    for name in (f"{call}/{place}" for place in range(3)):
        stream = client.chat.completions.create(
            model=MODEL,
            messages=ASK,
            stream=True,
            extra_headers={"x-client-request-id": name, "x-sim-output-tokens": "500", "x-sim-chunk-ms": "20"},
        )
        said = [next(stream).choices[0].delta.content for _ in range(3)]
        stream.close()
        left = time.monotonic()
        [(attempt, row)] = accounts.settled(name)
        waited.append(time.monotonic() - left)
        assert (row["outcome"], row["usage_source"], row["complete"]) == ("caller_cancelled", "counted", False)
        # The first chunk has a role and no text; each further one is a word, which is one token.
        assert len("".join(said).split()) <= row["output_tokens"] <= attempt["sent_output_tokens"] < 500
        assert row["input_tokens"] > 0
        assert cost_of(row) == row["input_tokens"] * 150_000 + row["output_tokens"] * 600_000
    assert min(waited) < 1
