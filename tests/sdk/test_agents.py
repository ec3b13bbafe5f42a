"""Claude Code and Codex, headless, before the simulated provider: configured as docs/clients.md says, and by nothing else.

Each is asked once, and once more so that it uses one of its tools and sends the result back.
"""

import json
import os
import subprocess

import pytest
from accounts import cost_of
from processes import ENVIRONMENTS
from wishes import KEY, QUESTION

PROGRAMS = ENVIRONMENTS / "agents" / "node_modules" / ".bin"
SECONDS_MAX = 120
# The simulated model takes the first tool that it is offered.
TOOL_QUESTION = "Please call the tool."


def agent(name):
    """The program, if this machine can run it."""
    program = PROGRAMS / name
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=SECONDS_MAX)
    except OSError as why:
        pytest.skip(f"{name} is not installed (its npm package could not be had, or is not made for this machine): {why}")
    if ran.returncode != 0:
        pytest.skip(f"{name} does not run on this machine: {ran.stderr.strip()[:300]}")
    return program


def asked(program, *arguments, home, **surroundings):
    """What it printed. It finds nothing of the person's own, and goes nowhere but to Farebox."""
    (home / "work").mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "127.0.0.1", **surroundings}
    ran = subprocess.run(
        [program, *arguments],
        cwd=home / "work",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("question, turns", [(QUESTION, 1), (TOOL_QUESTION, 2)])
def test_claude_code(farebox, accounts, call, tmp_path, question, turns):
    told = asked(
        agent("claude"),
        *("--print", question, "--model", "claude-sonnet-4-6", "--tools", "Read", "--output-format", "json"),
        home=tmp_path,
        ANTHROPIC_BASE_URL=f"{farebox.url}/anthropic",
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_CUSTOM_HEADERS=f"x-client-request-id: {call}",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )
    answer = json.loads(told)
    assert (answer["is_error"], answer["num_turns"]) == (False, turns), answer
    # It looks first whether the base URL can be reached, with a request that nobody bills.
    seen = accounts.attempts(call)
    rows = [row for row in accounts.agree(call, attempts=len(seen)) if row["operation"] == "chat"]
    assert len(rows) == turns and all(row["stream"] for row in rows)
    # Its own idea of the cost comes from the usage that it was told.
    booked = sum(cost_of(row) for row in rows)
    assert booked == pytest.approx(answer["total_cost_usd"] * 1e12)


@pytest.mark.parametrize("question, turns", [(QUESTION, 1), (TOOL_QUESTION, 2)])
def test_codex(farebox, accounts, tmp_path, question, turns):
    program = agent("codex")
    home = tmp_path / "codex"
    home.mkdir()
    (home / "config.toml").write_text(f"""
model = "gpt-5"
model_provider = "farebox"

[model_providers.farebox]
name = "Farebox"
base_url = "{farebox.url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
""")
    told = asked(
        program,
        *("exec", "--skip-git-repo-check", "--json", question),
        home=tmp_path,
        CODEX_HOME=str(home),
        OPENAI_API_KEY=KEY,
    )
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    [thread] = [event["thread_id"] for event in events if event["type"] == "thread.started"]
    [usage] = [event["usage"] for event in events if event["type"] == "turn.completed"]
    # It names its calls by its conversation.
    rows = accounts.agree(thread, attempts=turns)
    assert all((row["operation"], row["stream"]) == ("responses", True) for row in rows)
    booked = [sum(row[kind] for row in rows) for kind in ("input_tokens", "output_tokens")]
    assert booked == [usage["input_tokens"], usage["output_tokens"]]
