"""Anthropic's Python SDK."""

import anthropic
import pytest
from accounts import cost_of
from processes import adjustments_of, until
from wishes import KEY, MESSAGES_TOOL, PNG_BASE64, QUESTION, City

MODEL = "claude-sonnet-4-6"
ASK = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": QUESTION}]}


@pytest.fixture
def client(farebox, call):
    return anthropic.Anthropic(
        base_url=f"{farebox.url}/anthropic", api_key=KEY, max_retries=0, default_headers={"x-client-request-id": call}
    )


def test_a_message(client, accounts, call):
    answer = client.messages.create(**ASK)
    assert answer.content[0].text
    [row] = accounts.agree(call)
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.input_tokens, answer.usage.output_tokens)


def test_a_streamed_message(client, accounts, call):
    with client.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream)
        answer = stream.get_final_message()
    [row] = accounts.agree(call)
    assert row["output_tokens"] == answer.usage.output_tokens


def test_tools_and_their_results(client, accounts, call):
    first = client.messages.create(**ASK, tools=[MESSAGES_TOOL], tool_choice={"type": "any"})
    [wanted] = [block for block in first.content if block.type == "tool_use"]
    assert (first.stop_reason, wanted.input["unit"]) == ("tool_use", "celsius")
    result = {"type": "tool_result", "tool_use_id": wanted.id, "content": "-3 degrees, snow"}
    turns = [
        *ASK["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    client.messages.create(**{**ASK, "messages": turns}, tools=[MESSAGES_TOOL], tool_choice={"type": "none"})
    accounts.agree(call, attempts=2)


def test_streamed_tools(client, accounts, call):
    with client.messages.stream(**ASK, tools=[MESSAGES_TOOL], tool_choice={"type": "tool", "name": "weather"}) as stream:
        answer = stream.get_final_message()
    assert [block.input["unit"] for block in answer.content if block.type == "tool_use"] == ["celsius"]
    accounts.agree(call)


def test_a_json_schema(client, accounts, call):
    answer = client.messages.parse(**ASK, output_format=City)
    assert isinstance(answer.parsed_output, City)
    accounts.agree(call)


def test_vision(client, accounts, call):
    image = {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}
    content = [{"type": "image", "source": image}, {"type": "text", "text": "What is this?"}]
    client.messages.create(**{**ASK, "messages": [{"role": "user", "content": content}]})
    accounts.agree(call)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_caches_have_prices_of_their_own(client, accounts, call, stream):
    system = [{"type": "text", "text": "You are brief. " * 50, "cache_control": {"type": "ephemeral"}}]
    wishes = {"x-sim-cached-tokens": "40", "x-sim-cache-write-tokens": "30"}
    answer = client.messages.create(**ASK, system=system, extra_headers=wishes, stream=stream)
    if stream:
        assert list(answer)[-1].type == "message_stop"
    [row] = accounts.agree(call)
    assert row["cache_read_input_tokens"] == 40


def test_counting_tokens_costs_nothing(client, accounts, call):
    assert client.messages.count_tokens(model=MODEL, messages=ASK["messages"]).input_tokens > 0
    [(_, row)] = accounts.settled(call)
    assert (row["outcome"], cost_of(row)) == ("ok", 0)


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (400, anthropic.BadRequestError, "provider_invalid_request"),
        (429, anthropic.RateLimitError, "provider_rate_limited"),
        (500, anthropic.InternalServerError, "provider_server_error"),
        (529, anthropic.APIStatusError, "provider_overloaded"),
    ],
)
def test_a_providers_error_passes(client, accounts, call, status, error, outcome):
    with pytest.raises(error) as refusal:
        client.messages.create(**ASK, extra_headers={"x-sim-status": str(status), "x-sim-retry-after": "7"})
    assert refusal.value.status_code == status
    assert refusal.value.response.headers["retry-after"] == "7"
    assert refusal.value.body["type"] == "error"
    [row] = accounts.agree(call)
    assert row["outcome"] == outcome


def test_a_stream_that_the_client_leaves_is_in_the_ledger_within_a_second(client, accounts, call):
    wishes = {"x-sim-output-tokens": "500", "x-sim-chunk-ms": "20"}
    stream = client.messages.create(**{**ASK, "max_tokens": 800}, stream=True, extra_headers=wishes)
    deltas = (event for event in stream if event.type == "content_block_delta")
    said = [next(deltas).delta.text for _ in range(3)]
    stream.close()
    [(attempt, row)] = accounts.settled(call)
    assert row["outcome"] == "caller_cancelled"
    # The input was reported when the stream began; the output is counted, with the documented correction for a model
    # whose tokenizer is not public.
    assert row["input_tokens"] == attempt["usage"]["input_tokens"]
    assert row["usage_source"] in ("counted", "estimated")
    assert len("".join(said).split()) <= row["output_tokens"] < 500


def test_a_batch_is_booked_when_its_results_are_fetched(client, farebox, call):
    batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}])
    until(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended", "the batch's end")
    assert len(list(client.messages.batches.results(batch.id))) == 4
    begun = until(lambda: farebox.rows(call), "the row of the batch")[0]
    found = until(lambda: adjustments_of(farebox.admin, begun), "the batch's usage")
    assert [(row["response_model"], row["input_tokens"], row["output_tokens"]) for row in found] == [
        ("claude-sonnet-5-5", 400, 40),
        ("claude-haiku-5-5", 200, 20),
    ]
