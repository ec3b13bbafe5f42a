"""Starting, stopping and being replaced, as operators do it and SDKs live through it."""

import json
import re
import signal
import ssl
import subprocess
import threading
from decimal import Decimal

import httpx2
import openai
import pytest
from accounts import Accounts
from conftest import configuration
from processes import BINARY, Farebox, Program, json_of, until
from test_nginx import Authority
from wishes import KEY, QUESTION

ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": QUESTION}]}
SLOW = {"x-sim-output-tokens": "100", "x-sim-chunk-ms": "20"}


def sdk(farebox, call, **more):
    return openai.OpenAI(
        base_url=f"{farebox.url}/v1", api_key=KEY, max_retries=0, default_headers={"x-client-request-id": call}, **more
    )


def test_tls_on_the_listener(simulator, tmp_path, call):
    authority = Authority(tmp_path / "ca", "Farebox's tests")
    certificate, key = authority.certify("localhost")
    listener = f"tls: {{certificate: {certificate}, key: {key}}}\n"
    farebox = Farebox(tmp_path / "farebox", configuration(simulator.url, listener))
    farebox.url = f"https://localhost:{farebox.authority.rpartition(':')[2]}"
    trusted = httpx2.Client(verify=ssl.create_default_context(cafile=str(authority.certificate)))
    with sdk(farebox, call, http_client=trusted) as client:
        assert client.chat.completions.create(**ASK).choices[0].message.content
        assert all(chunk.choices for chunk in client.chat.completions.create(**ASK, stream=True))
    Accounts(simulator.url, farebox.admin).agree(call, attempts=2)
    with sdk(farebox, call) as stranger, pytest.raises(openai.APIConnectionError):
        stranger.chat.completions.create(**ASK)
    assert farebox.stop() == 0, farebox.said()


def test_a_stop_lets_streams_finish_and_books_them(simulator, tmp_path, call):
    farebox = Farebox(tmp_path, configuration(simulator.url, "drain_max: 20s\n"))
    with sdk(farebox, call) as client:
        stream = client.chat.completions.create(**ASK, stream=True, extra_headers=SLOW)
        next(stream)
        farebox.process.send_signal(signal.SIGTERM)
        rest = list(stream)
    assert rest[-1].choices[0].finish_reason == "stop"
    assert farebox.stop() == 0, farebox.said()
    [row] = rows_on_disk(farebox, call)
    [attempt] = simulator.attempts(call)
    assert (row["outcome"], row["usage_source"], row["output_tokens"]) == ("ok", "reported", 100)
    assert attempt["usage"]["input_tokens"] == row["input_tokens"]


def test_an_upgrade_drops_no_call(simulator, tmp_path, call):
    farebox = Farebox(tmp_path, configuration(simulator.url, "drain_max: 20s\n"))
    done, failures, ends = [], [], threading.Event()

    def load(place):
        number = 0
        with sdk(farebox, call) as client:
            while not ends.is_set():
                number += 1
                name = f"{call}/{place}/{number}"
                try:
                    stream = client.chat.completions.create(
                        **ASK, stream=True, extra_headers={"x-client-request-id": name, "x-sim-chunk-ms": "5"}
                    )
                    assert list(stream)[-1].choices[0].finish_reason == "stop"
                    done.append(name)
                except Exception as failure:
                    failures.append(failure)

    threads = [threading.Thread(target=load, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(done) > 8, "calls under way")
    successor = Farebox(tmp_path, farebox.file.read_text(), "--upgrade")
    farebox.process.send_signal(signal.SIGQUIT)
    assert successor.listens().authority == farebox.authority
    before = len(done)
    until(lambda: farebox.process.poll() is not None, "the end of the old node")
    until(lambda: len(done) > before + 8, "calls after the upgrade")
    ends.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert farebox.process.returncode == 0, farebox.said()
    assert successor.stop() == 0, successor.said()
    booked = [row["client_request_id"] for row in rows_on_disk(successor)]
    assert sorted(booked) == sorted(done)


def rows_on_disk(farebox, call=None):
    """The ledger's rows after the end of the process, by the command that reads them."""
    command = [BINARY, "usage", "events", "--json", "--limit", "1000", "--data-dir", farebox.data_dir]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=farebox.place).stdout)
    return [row for row in told["events"] if call in (None, row["client_request_id"])]


def test_the_demo_shows_calls_and_their_cost(tmp_path):
    surroundings = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [BINARY, "demo", "--calls", "20"]
    ran = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = ran.stdout.replace(",", "")
    _, calls, _, _, _, cost = next(line.split() for line in told.splitlines() if line.startswith("all "))
    assert (int(calls), Decimal(cost) > 0) == (20, True)
    attempts, rows = re.search(r"saw (\d+) attempts; the ledger has (\d+)", told).groups()
    billed = re.search(r"billed (\d+) tokens in and (\d+) out", told).groups()
    reported = re.search(r"has (\d+) in and (\d+) out reported", told).groups()
    assert (attempts, billed) == (rows, reported)


def test_a_demo_that_is_told_to_end_leaves_no_process_behind(tmp_path):
    demo = Program(BINARY, "demo", cwd=tmp_path)
    url = demo.first(lambda line: line.removeprefix("Farebox").strip() if line.startswith("Farebox ") else None, "its URL")
    until(lambda: json_of(f"{url}/v1/models")["data"], "the demo's answer")
    assert demo.stop() == 0, demo.said()
    with pytest.raises(OSError):
        json_of(f"{url}/v1/models")
