"""The same call with and without Farebox: the same bytes."""

import anthropic
import httpx2
import openai
import pytest
from wishes import CHAT_TOOL, KEY, QUESTION

MODEL = "gpt-4o-mini"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
MESSAGE = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": CHAT["messages"]}
# Of one connection or one attempt. The request's hash differs where usage is asked for on the caller's behalf.
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "date", "x-request-id", "request-id", "x-sim-attempt"}
OWN_HEADERS |= {"x-sim-body-blake3"}


class Tape(httpx2.HTTPTransport):
    """A transport that keeps what came over the wire, before anything decodes it."""

    def handle_request(self, request):
        response = super().handle_request(request)
        self.status = response.status_code
        self.headers = {name: value for name, value in response.headers.items() if name not in OWN_HEADERS}
        self.body = bytearray()
        response.stream = Tee(response.stream, self.body)
        return response


class Tee(httpx2.SyncByteStream):
    """Keeps what is read, and what a reader who leaves at `[DONE]` does not wait for."""

    def __init__(self, stream, kept):
        self.stream, self.rest, self.kept = stream, iter(stream), kept

    def __iter__(self):
        for chunk in self.rest:
            self.kept += chunk
            yield chunk

    def close(self):
        for chunk in self.rest:
            self.kept += chunk
        self.stream.close()


def chat(**more):
    return lambda client, **options: client.chat.completions.create(**CHAT, **more, **options)


CALLS = {
    "a chat": chat(),
    "a chat's tools": chat(tools=[CHAT_TOOL], tool_choice="required"),
    "a chat with strange members": chat(extra_body={"x_strange": [1, {"b": None}], "seed": 10**17}),
    "a stream": chat(stream=True),
    "a stream's tools": chat(stream=True, tools=[CHAT_TOOL], tool_choice="required"),
    "a stream of two choices": chat(stream=True, n=2),
    "a stream with usage asked for": chat(stream=True, stream_options={"include_usage": True}),
    "a stream with usage declined": chat(stream=True, stream_options={"include_usage": False}),
    "embeddings": lambda client, **options: client.embeddings.create(
        model="text-embedding-3-small", input="A text.", **options
    ),
    "a completion's stream": lambda client, **options: client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Once", stream=True, **options
    ),
    "a response": lambda client, **options: client.responses.create(model=MODEL, input=QUESTION, **options),
    "a response's stream": lambda client, **options: client.responses.create(
        model=MODEL, input=QUESTION, stream=True, **options
    ),
    "a list of models": lambda client, **options: client.models.list(**options),
}
ERRORS = {"429": {"x-sim-status": "429", "x-sim-retry-after": "3"}, "500": {"x-sim-status": "500"}}


def recorded(kind, base_url, ask, headers):
    tape = Tape()
    with kind(base_url=base_url, api_key=KEY, max_retries=0, http_client=httpx2.Client(transport=tape)) as client:
        try:
            answer = ask(client, extra_headers={"x-sim-seed": "same", **headers})
            if hasattr(answer, "__next__") or type(answer).__name__ == "Stream":
                list(answer)
        except (openai.APIStatusError, anthropic.APIStatusError):
            assert headers.get("x-sim-status")
    return tape


def compared(direct, through):
    assert bytes(direct.body) == bytes(through.body)
    assert len(direct.body) > 20
    assert direct.status == through.status
    theirs = {name: value for name, value in through.headers.items() if not name.startswith("x-farebox-")}
    assert direct.headers == theirs


@pytest.mark.parametrize("ask", CALLS.values(), ids=CALLS.keys())
def test_the_sdk_gets_the_same_bytes_with_and_without(farebox, simulator, ask):
    compared(
        recorded(openai.OpenAI, f"{simulator.url}/v1", ask, {}), recorded(openai.OpenAI, f"{farebox.url}/v1", ask, {})
    )


@pytest.mark.parametrize("headers", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("name", ["a chat", "a stream", "a response", "embeddings"])
def test_errors_are_the_same_bytes(farebox, simulator, name, headers):
    compared(
        recorded(openai.OpenAI, f"{simulator.url}/v1", CALLS[name], headers),
        recorded(openai.OpenAI, f"{farebox.url}/v1", CALLS[name], headers),
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_messages_are_the_same_bytes(farebox, simulator, stream):
    def ask(client, **options):
        return client.messages.create(**MESSAGE, stream=stream, **options)

    compared(
        recorded(anthropic.Anthropic, f"{simulator.url}/anthropic", ask, {}),
        recorded(anthropic.Anthropic, f"{farebox.url}/anthropic", ask, {}),
    )


@pytest.mark.parametrize("name", ["a chat", "a stream with usage asked for", "a response", "a response's stream"])
def test_compressed_answers_pass_as_they_are(farebox, simulator, name):
    headers = {"x-sim-encoding": "gzip", "accept-encoding": "gzip"}
    compared(
        recorded(openai.OpenAI, f"{simulator.url}/v1", CALLS[name], headers),
        recorded(openai.OpenAI, f"{farebox.url}/v1", CALLS[name], headers),
    )


def test_request_bodies_arrive_as_they_were_sent(farebox, simulator):
    """Key order, number spelling, escapes and white space: the provider hashes what reached it."""
    body = b'{ "model":"gpt-4o-mini" , "x":1.10e+2,"messages":[{"content":"\\u00e9\\/","role":"user"}],"y":-0 }\n'
    hashes = set()
    for base in (simulator.url, farebox.url):
        answer = httpx2.post(
            f"{base}/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200
        hashes.add(answer.headers["x-sim-body-blake3"])
    assert len(hashes) == 1
