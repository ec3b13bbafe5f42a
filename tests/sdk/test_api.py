"""The admin API against its own description: schemathesis asks what that allows, and what it does not."""

import json
import subprocess
import urllib.request

from processes import BINARY, ENVIRONMENTS, Program

TOKEN = "the-admin-token"
# Seconds of fuzzing; what stands in the description is tried in any case.
SECONDS = 30


class Guarded(Program):
    """`farebox serve` whose admin port asks for a token."""

    def __init__(self, place):
        configuration = place / "farebox.yaml"
        configuration.write_text("providers:\n  - name: openai\n    key: caller\n")
        super().__init__(
            BINARY,
            "serve",
            "--config",
            configuration,
            env={
                "FAREBOX_LISTEN": "127.0.0.1:0",
                "FAREBOX_ADMIN_LISTEN": "127.0.0.1:0",
                "FAREBOX_DATA_DIR": str(place / "data"),
                "FAREBOX_LOG_FORMAT": "json",
                "FAREBOX_ADMIN_TOKEN": TOKEN,
            },
            cwd=place,
        )
        self.admin = "http://" + self.event("listening")["admin"]

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.admin}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def test_the_api_keeps_to_its_description(tmp_path):
    farebox = Guarded(tmp_path)
    try:
        # Something to find.
        farebox.ask("POST", "organisations", {"name": "acme"})
        farebox.ask("POST", "teams", {"name": "research", "organisation": "acme"})
        farebox.ask("POST", "users", {"name": "ann", "organisation": "acme"})
        description = farebox.ask("GET", "openapi.json")
        operations = sum(len(methods) for methods in description["paths"].values())
        (tmp_path / "openapi.json").write_text(json.dumps(description))
        # A text that is longer than its schema allows may be longer than a body may be.
        refused = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
        (tmp_path / "schemathesis.toml").write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {refused}\n")
        run = subprocess.run(
            [
                ENVIRONMENTS / "api" / "bin" / "schemathesis",
                "run",
                tmp_path / "openapi.json",
                "--url",
                farebox.admin,
                "--header",
                f"Authorization: Bearer {TOKEN}",
                "--phases",
                "coverage,fuzzing",
                "--max-examples",
                "10",
                "--seed",
                "5",
                "--max-time",
                str(SECONDS),
                # A name that is taken or a place that is not there is refused though its shape is good.
                "--exclude-checks",
                "positive_data_acceptance",
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        said = "\n".join(line[:300] for line in run.stdout.splitlines())
        assert run.returncode == 0, said[-20_000:] + run.stderr[-2_000:]
        assert f"{operations} selected / {operations} total" in run.stdout, run.stdout
        # Whatever was sent, the log of what was done is whole.
        assert farebox.ask("GET", "audit/verify")["ok"]
    finally:
        assert farebox.stop() == 0, farebox.said()
