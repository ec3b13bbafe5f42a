"""A real model: what Farebox books is what llama.cpp counted."""

from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
from processes import Farebox, Model, rows_at, until
from wishes import KEY

MODEL = "smollm2-135m"
OUTPUT_TOKENS = 24
# Tokens of another tokenizer, and those that the model says before it notices that nobody listens.
TOLERANCE = 0.15
STORY = """The old lighthouse stands at the end of a long pier, where the wind has worn the stones smooth and the gulls
have made their nests for as long as anyone in the village can remember. Every evening, at the hour when the fishing
boats come home, an old woman climbs the two hundred steps to the top and lights the lamp by hand, although a machine
could have done it for thirty years. She says that a machine does not know the names of the boats, and that somebody
should. When she was a child her father took her up those steps for the first time, and he told her that the sea
forgets everything but the light. Once, in a winter of great storms, the lamp went out for a single night, and three
boats did not come home; since then there has always been someone at the top of the stairs. Now the council wants to
sell the tower to a hotel, and the young people of the village have come to ask her what she would like to do. She has
made them tea, and she looks out of the window for a long time before she speaks, because the answer is not simple."""


@pytest.fixture(scope="module")
def model():
    model = Model()
    yield model
    model.stop()


@pytest.fixture(scope="module")
def farebox(model, tmp_path_factory):
    def provider(name, dialect, path, gone):
        return f"""
  - name: {name}
    dialect: {dialect}
    flavor: {"llamacpp" if dialect == "openai" else "standard"}
    base_url: {model.url}{path}
    key: none
    ask_for_usage: {"true" if dialect == "openai" else "false"}
    on_client_gone: {gone}"""

    configuration = "providers:" + "".join(
        provider(f"{name}-{gone}", dialect, path, gone)
        for name, dialect, path in (("chat", "openai", "/v1"), ("messages", "anthropic", ""))
        for gone in ("drain", "cancel")
    )
    farebox = Farebox(tmp_path_factory.mktemp("model"), configuration + "\ndefault_provider: chat-drain\n")
    yield farebox
    assert farebox.stop() == 0, farebox.said()


class Clients:
    """The two SDKs, by what the provider is to do when its client leaves."""

    def __init__(self, farebox, call, gone="drain"):
        options = {"api_key": KEY, "max_retries": 0, "default_headers": {"x-client-request-id": call}}
        self.openai = openai.OpenAI(base_url=f"{farebox.url}/chat-{gone}/v1", **options)
        self.anthropic = anthropic.Anthropic(base_url=f"{farebox.url}/messages-{gone}", **options)

    def chat(self, prompt="Name three birds.", tokens=OUTPUT_TOKENS, **more):
        ask = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": prompt}]
        return self.openai.chat.completions.create(model=MODEL, messages=ask, max_tokens=tokens, **more)

    def completion(self, **more):
        return self.openai.completions.create(model=MODEL, prompt="Once upon", max_tokens=OUTPUT_TOKENS, **more)

    def response(self, prompt="Name three fish.", tokens=OUTPUT_TOKENS, **more):
        return self.openai.responses.create(
            model=MODEL, instructions="You are brief.", input=prompt, max_output_tokens=tokens, **more
        )

    def message(self, prompt="Name three trees.", tokens=OUTPUT_TOKENS, **more):
        ask = [{"role": "user", "content": prompt}]
        return self.anthropic.messages.create(
            model=MODEL, system="You are brief.", messages=ask, max_tokens=tokens, **more
        )


def booked(farebox, call, count):
    return until(
        lambda: rows if len(rows := rows_at(farebox.admin, call)) >= count else None, f"{count} rows of {call!r}"
    )


def leave_after(stream, chunks):
    for _ in range(chunks):
        next(iter(stream))
    stream.close()


FINISHED = {
    "chat": lambda clients: clients.chat(),
    "a chat's stream": lambda clients: list(clients.chat(stream=True)),
    "a chat's stream with usage": lambda clients: list(
        clients.chat(stream=True, stream_options={"include_usage": True})
    ),
    "a completion": lambda clients: clients.completion(),
    "a completion's stream": lambda clients: list(clients.completion(stream=True)),
    "a response": lambda clients: clients.response(),
    "a response's stream": lambda clients: list(clients.response(stream=True)),
    "a message": lambda clients: clients.message(),
    "a message's stream": lambda clients: list(clients.message(stream=True)),
    "embeddings": lambda clients: clients.openai.embeddings.create(model=MODEL, input=["one text", "and another"]),
}
LEFT = {
    "a chat": lambda clients, **more: clients.chat(stream=True, **more),
    "a response": lambda clients, **more: clients.response(stream=True, **more),
    "a message": lambda clients, **more: clients.message(stream=True, **more),
}


@pytest.mark.parametrize("ask", FINISHED.values(), ids=FINISHED.keys())
def test_a_finished_call_is_booked_with_the_tokens_that_the_model_counted(farebox, model, call, ask):
    before = model.counted()
    ask(Clients(farebox, call))
    [row] = booked(farebox, call, 1)
    after = model.counted()
    assert (row["outcome"], row["usage_source"]) == ("ok", "reported")
    assert (row["input_tokens"], row["output_tokens"]) == (after[0] - before[0], after[1] - before[1])


@pytest.mark.parametrize("ask", LEFT.values(), ids=LEFT.keys())
def test_a_drained_call_that_its_client_left_is_booked_exactly(farebox, model, call, ask):
    before = model.counted()
    leave_after(ask(Clients(farebox, call), tokens=60), chunks=3)
    [row] = booked(farebox, call, 1)
    after = model.counted()
    assert (row["outcome"], row["usage_source"]) == ("caller_cancelled", "reported")
    assert (row["input_tokens"], row["output_tokens"]) == (after[0] - before[0], after[1] - before[1])


@pytest.mark.parametrize("ask", LEFT.values(), ids=LEFT.keys())
def test_a_cancelled_call_is_booked_as_counted_within_15_percent(farebox, model, call, ask):
    before = model.counted()
    leave_after(ask(Clients(farebox, call, "cancel"), prompt=STORY, tokens=1000), chunks=80)
    [row] = booked(farebox, call, 1)
    after = model.counted()
    assert row["outcome"] == "caller_cancelled"
    assert row["usage_source"] in ("counted", "estimated")
    assert after[1] - before[1] < 1000, "the model was stopped"
    assert row["input_tokens"] == pytest.approx(after[0] - before[0], rel=TOLERANCE)
    assert row["output_tokens"] == pytest.approx(after[1] - before[1], rel=TOLERANCE)


def test_a_mixed_run_sums_to_the_models_own_counters(farebox, model, call):
    before = model.counted()
    clients = Clients(farebox, call)
    with ThreadPoolExecutor(max_workers=2) as both:
        finished = [both.submit(ask, clients) for ask in FINISHED.values()]
        left = [both.submit(lambda ask=ask: leave_after(ask(clients, tokens=40), 3)) for ask in LEFT.values()]
        assert all(done.exception() is None for done in finished + left)
    rows = booked(farebox, call, len(FINISHED) + len(LEFT))
    after = model.counted()
    assert sum(row["input_tokens"] for row in rows) == after[0] - before[0]
    assert sum(row["output_tokens"] for row in rows) == after[1] - before[1]
