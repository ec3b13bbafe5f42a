"""langchain-openai."""

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from wishes import CHAT_TOOL, KEY, PNG_URL, QUESTION, City


@pytest.fixture
def model(url, call):
    def make(**settings):
        settings = {"model": "gpt-4o-mini", "max_retries": 0, **settings}
        headers = {"x-client-request-id": call, **settings.pop("headers", {})}
        return ChatOpenAI(base_url=f"{url}/v1", api_key=KEY, default_headers=headers, **settings)

    return make


def test_chat(model, accounts, call):
    answer = model().invoke(QUESTION)
    [row] = accounts.agree(call)
    assert answer.usage_metadata["input_tokens"] == row["input_tokens"]
    assert answer.usage_metadata["output_tokens"] == row["output_tokens"]


def test_stream(model, accounts, call):
    assert "".join(chunk.text for chunk in model(stream_usage=False).stream(QUESTION))
    accounts.agree(call)


def test_stream_with_usage(model, accounts, call):
    whole = None
    for chunk in model(stream_usage=True).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    [row] = accounts.agree(call)
    assert whole.usage_metadata["output_tokens"] == row["output_tokens"]


def test_tools_and_their_results(model, accounts, call):
    first = model().bind_tools([CHAT_TOOL], tool_choice="required").invoke(QUESTION)
    [wanted] = first.tool_calls
    assert (wanted["name"], wanted["args"]["unit"]) == ("weather", "celsius")
    result = ToolMessage("-3 degrees, snow", tool_call_id=wanted["id"])
    assert model().invoke([HumanMessage(QUESTION), first, result]).text
    accounts.agree(call, attempts=2)


def test_json_schema(model, accounts, call):
    assert isinstance(model().with_structured_output(City, method="json_schema").invoke(QUESTION), City)
    accounts.agree(call)


def test_vision(model, accounts, call):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    model(model="gpt-4o").invoke([HumanMessage(content)])
    accounts.agree(call)


def test_embeddings(url, accounts, call):
    # Its own check of lengths would fetch a tokenizer from the network.
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=f"{url}/v1",
        api_key=KEY,
        check_embedding_ctx_length=False,
        default_headers={"x-client-request-id": call},
    )
    assert len(embeddings.embed_documents(["one text", "and another"])) == 2
    accounts.agree(call)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_responses(model, accounts, call, stream):
    speaker = model(use_responses_api=True)
    text = "".join(chunk.text for chunk in speaker.stream(QUESTION)) if stream else speaker.invoke(QUESTION).text
    assert text
    accounts.agree(call)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
def test_errors(model, accounts, call, status, error):
    with pytest.raises(error):
        model(headers={"x-sim-status": str(status), "x-sim-retry-after": "7"}).invoke(QUESTION)
    accounts.agree(call)
