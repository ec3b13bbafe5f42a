"""Google's Python SDK for Gemini."""

import base64

import pytest
from accounts import cost_of
from google import genai
from google.genai import errors, types
from processes import adjustments_of, until
from wishes import KEY, PNG_BASE64, QUESTION, City

MODEL = "gemini-2.5-flash"


@pytest.fixture
def client(farebox, call):
    options = types.HttpOptions(base_url=f"{farebox.url}/gemini", headers={"x-client-request-id": call})
    return genai.Client(api_key=KEY, http_options=options)


def wishing(call, **wishes):
    """What a call asks of the simulator: the SDK takes a call's headers instead of its client's."""
    headers = {"x-client-request-id": call} | {f"x-sim-{name.replace('_', '-')}": text for name, text in wishes.items()}
    return types.HttpOptions(headers=headers)


def test_a_generation(client, accounts, call):
    answer = client.models.generate_content(model=MODEL, contents=QUESTION)
    assert answer.text
    [row] = accounts.agree(call)
    assert row["output_tokens"] == answer.usage_metadata.candidates_token_count


def test_a_streamed_generation(client, accounts, call):
    assert "".join(chunk.text or "" for chunk in client.models.generate_content_stream(model=MODEL, contents=QUESTION))
    accounts.agree(call)


def test_thoughts_and_cached_input(client, accounts, call):
    config = types.GenerateContentConfig(http_options=wishing(call, reasoning_tokens="40", cached_tokens="8"))
    client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    [row] = accounts.agree(call)
    assert (row["reasoning_output_tokens"], row["cache_read_input_tokens"]) == (40, 8)


def test_tools(client, accounts, call):
    properties = {"city": types.Schema(type="STRING")}
    weather = types.FunctionDeclaration(name="weather", parameters=types.Schema(type="OBJECT", properties=properties))
    calling = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY"))
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[weather])], tool_config=calling)
    [wanted] = client.models.generate_content(model=MODEL, contents=QUESTION, config=config).function_calls
    assert (wanted.name, list(wanted.args)) == ("weather", ["city"])
    accounts.agree(call)


def test_a_json_schema(client, accounts, call):
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    assert isinstance(client.models.generate_content(model=MODEL, contents=QUESTION, config=config).parsed, City)
    accounts.agree(call)


def test_vision(client, accounts, call):
    image = types.Part.from_bytes(data=base64.b64decode(PNG_BASE64), mime_type="image/png")
    assert client.models.generate_content(model=MODEL, contents=[image, "What is this?"]).text
    accounts.agree(call)


def test_embeddings(client, accounts, call):
    answer = client.models.embed_content(model="gemini-embedding-001", contents=["one text", "and another"])
    assert len(answer.embeddings) == 2
    [(_, row)] = accounts.settled(call)
    # Gemini does not say what an embedding used.
    assert (row["outcome"], row["usage_source"]) == ("ok", "estimated")
    assert cost_of(row) == row["input_tokens"] * 150_000 > 0


def test_counting_tokens_costs_nothing(client, accounts, call):
    assert client.models.count_tokens(model=MODEL, contents=QUESTION).total_tokens > 0
    [(_, row)] = accounts.settled(call)
    assert (row["outcome"], cost_of(row)) == ("ok", 0)


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (400, errors.ClientError, "provider_invalid_request"),
        (429, errors.ClientError, "provider_rate_limited"),
        (500, errors.ServerError, "provider_server_error"),
    ],
)
def test_a_providers_error_passes(client, accounts, call, status, error, outcome):
    config = types.GenerateContentConfig(http_options=wishing(call, status=str(status)))
    with pytest.raises(error) as refusal:
        client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    assert (refusal.value.code, f"simulated {status}" in refusal.value.message) == (status, True)
    [row] = accounts.agree(call)
    assert row["outcome"] == outcome


@pytest.mark.parametrize("source", ["inline", "file"])
def test_a_batch_is_booked_when_its_results_are_fetched(client, farebox, call, source):
    asked = [{"contents": [{"parts": [{"text": QUESTION}]}]}] if source == "inline" else "files/asked"
    batch = client.batches.create(model=MODEL, src=asked)
    until(lambda: client.batches.get(name=batch.name).state.name == "JOB_STATE_SUCCEEDED", "the batch's end")
    done = client.batches.get(name=batch.name)
    if source == "inline":
        assert [one.response.usage_metadata.prompt_token_count for one in done.dest.inlined_responses] == [100, 200]
        booked_on = until(lambda: farebox.rows(call), "the row of the batch")[0]
    else:
        # Nothing says of which batch a file is: it is booked on whoever fetches it first.
        assert len(client.files.download(file=done.dest.file_name).splitlines()) == 2
        booked_on = until(lambda: [row for row in farebox.rows(call) if row["operation"] == "files"], "the file")[0]
    [found] = until(lambda: adjustments_of(farebox.admin, booked_on), "the batch's usage")
    assert (found["response_model"], found["input_tokens"], found["output_tokens"]) == (MODEL, 300, 30)
