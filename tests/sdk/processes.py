"""Starts the real binary, and whatever else a test needs, each on ports of its own; stops what it started."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

BINARY = os.environ.get("FAREBOX_BIN", "")
ENVIRONMENTS = Path(os.environ.get("FAREBOX_SDK_ENVIRONMENTS", "."))
# A loaded machine may be slow; a broken program shows at once, because it ends.
PATIENCE_SECONDS = 30
LOG_LINES_SHOWN = 60
# All that one run of the tests books, and more.
ROWS_LOOKED_AT = 1000


def until(found, what, seconds=PATIENCE_SECONDS):
    """What `found()` returns, as soon as that is true in the sense of `bool`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := found():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def json_of(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)


class Program:
    """A child process whose words are kept by lines."""

    def __init__(self, *command, env=None, cwd=None):
        self.command = [str(word) for word in command]
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("FAREBOX_")}
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**surroundings, **(env or {})},
            cwd=cwd,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())

    def said(self):
        return "\n".join(self.lines[-LOG_LINES_SHOWN:])

    def first(self, told, what):
        """What `told(line)` makes of the first line that it makes something of."""

        def found():
            ended = self.process.poll() is not None
            if ended:
                self._reader.join(1)
            for line in list(self.lines):
                if (result := told(line)) is not None:
                    return result
            assert not ended, f"{self.command} ended with {self.process.returncode}:\n{self.said()}"
            return None

        return until(found, f"{what} of {self.command}")

    def event(self, message):
        """The first JSON log line with this message."""

        def told(line):
            event = json.loads(line) if line.startswith("{") and f'"{message}"' in line else {}
            fields = {**event, **event.get("fields", {})}
            return fields if fields.get("message") == message else None

        return self.first(told, f"the log line `{message}`")

    def stop(self, by=signal.SIGTERM, seconds=PATIENCE_SECONDS):
        """Asks it to end, and returns how it did."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.command} did not stop within {seconds} s:\n{self.said()}") from None


class Simulator(Program):
    """The simulated provider: what it charged is the truth that the ledger is held against."""

    def __init__(self):
        super().__init__(BINARY, "simulate", "--listen", "127.0.0.1:0")
        address = re.compile(r"listens on (http://[0-9.:]+)")
        self.url = self.first(lambda line: (at := address.search(line)) and at.group(1), "the address")

    def attempts(self, call):
        """What reached it under this client request id, oldest first."""
        return [one for one in json_of(f"{self.url}/simulator/attempts") if one["client_request_id"] == call]


class Model(Program):
    """A real model behind llama.cpp's server, with its own count of tokens."""

    def __init__(self):
        super().__init__(ENVIRONMENTS / "model" / "bin" / "python", Path(__file__).with_name("llama.py"))
        self.url = "http://" + self.event("listening")["data"]

    def counted(self):
        """Tokens of input evaluated or taken from the cache, and tokens of output; once the model is at rest."""
        metrics = until(self._at_rest, "the model at rest")
        evaluated, cached = metrics["prompt_tokens_total"], metrics["prompt_tokens_cached_total"]
        return int(evaluated + cached), int(metrics["tokens_predicted_total"])

    def _at_rest(self):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE_SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        metrics = {
            name: float(value) for name, value in (line[9:].split() for line in lines if line.startswith("llamacpp:"))
        }
        return metrics if metrics["requests_processing"] == metrics["requests_deferred"] == 0 else None


class Farebox(Program):
    """`farebox serve` on a data directory and a configuration of its own."""

    def __init__(self, place, configuration, *arguments):
        self.place = Path(place)
        self.place.mkdir(parents=True, exist_ok=True)
        self.file = self.place / "farebox.yaml"
        self.file.write_text(configuration)
        self.data_dir = self.place / "data"
        super().__init__(
            BINARY,
            "serve",
            "--config",
            self.file,
            *arguments,
            env={
                "FAREBOX_LISTEN": "127.0.0.1:0",
                "FAREBOX_ADMIN_LISTEN": "127.0.0.1:0",
                "FAREBOX_DATA_DIR": str(self.data_dir),
                "FAREBOX_LOG_FORMAT": "json",
            },
            cwd=self.place,
        )
        if "--upgrade" not in arguments:
            self.listens()

    def listens(self):
        """Returns once it does."""
        listening = self.event("listening")
        self.authority = listening["data"]
        self.url = f"http://{self.authority}"
        self.admin = f"http://{listening['admin']}"
        return self

    def rows(self, call):
        return rows_at(self.admin, call)


def rows_at(admin, call):
    """The ledger's rows of this client request id among the newest, oldest first."""
    rows = json_of(f"{admin}/api/usage/events?limit={ROWS_LOOKED_AT}")["events"]
    return [row for row in reversed(rows) if row["client_request_id"] == call]


def adjustments_of(admin, row):
    """The later corrections of a row, oldest first."""
    rows = json_of(f"{admin}/api/usage/events?limit={ROWS_LOOKED_AT}")["events"]
    return [one for one in reversed(rows) if one["adjusts"] == row["id"]]
