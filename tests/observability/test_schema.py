"""The dashboards against the types of `@grafana/schema`, by the TypeScript compiler."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TYPES = Path(__file__).with_name("schema") / "dashboard.ts"
DASHBOARDS = ROOT / "grafana" / "dashboards"
# Made by `tests/observability/run`: the two packages of schema/package.json.
PACKAGES = Path(os.environ.get("FAREBOX_SCHEMA_PACKAGES", ".")) / "node_modules"
OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"]
# What a hand slips on, and what the compiler says of it.
MISTAKES = [
    ("farebox-spend", '"graphTooltip": 1', '"graphTooltip": "no"', "string"),
    ("farebox-spend", '"drawStyle": "line"', '"drawStyle": "lines"', '"lines"'),
    ("farebox-spend", '"displayMode": "list"', '"displayMode": "rows"', '"rows"'),
    ("farebox-health", '"mode": "absolute"', '"mode": "absolut"', '"absolut"'),
    ("farebox-health", '"legendFormat"', '"legend"', "legend"),
    ("farebox-rules", '"type": "state-timeline"', '"type": "state-time"', '"state-time"'),
    ("farebox-rules", '"reduceOptions"', '"reduce"', "reduce"),
    ("farebox-team", '"includeAll": true', '"includesAll": true', "includesAll"),
    ("farebox-team", '"unit": "currencyUSD"', '"units": "currencyUSD"', "unit"),
    ("farebox-health", '"unit": "reqps"', '"unit": "rps"', '"rps"'),
    ("farebox-team", '"schemaVersion": 39', '"schemaVersion": 16', "16"),
]


def literal(text):
    return f"import type {{ OurDashboard }} from './dashboard';\nexport const dashboard: OurDashboard = {text};\n"


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert PACKAGES.is_dir(), "run tests/observability/run: it makes the packages"

    def compiled(self, texts):
        """What the compiler says of these JSON texts by name: its status, and its words by file."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "node_modules").symlink_to(PACKAGES)
            shutil.copy(TYPES, place)
            for name, text in texts.items():
                (place / f"{name}.ts").write_text(literal(text))
            command = [PACKAGES / ".bin" / "tsc", *OPTIONS, *(f"{name}.ts" for name in texts)]
            done = subprocess.run([str(word) for word in command], cwd=place, capture_output=True, text=True)
        said = {}
        for line in (done.stdout + done.stderr).splitlines():
            if named := re.match(r"([\w-]+)\.ts\(", line):
                at = named.group(1)
            said[at] = said.get(at, "") + line + "\n"
        return done.returncode, said

    def test_every_dashboard_is_what_grafana_reads(self):
        texts = {path.stem: path.read_text() for path in DASHBOARDS.glob("*.json")}
        self.assertEqual(len(texts), 4)
        status, said = self.compiled(texts)
        self.assertEqual(status, 0, "\n".join(said.values()))

    def test_a_mistake_in_a_dashboard_is_an_error(self):
        texts = {}
        for number, (dashboard, right, wrong, _) in enumerate(MISTAKES):
            text = (DASHBOARDS / f"{dashboard}.json").read_text()
            self.assertTrue(right in text, f"{dashboard} has no {right}")
            mistaken = text.replace(right, wrong, 1)
            json.loads(mistaken)
            texts[f"mistake-{number}"] = mistaken
        _, said = self.compiled(texts)
        for number, (dashboard, _, wrong, word) in enumerate(MISTAKES):
            self.assertIn(word, said.get(f"mistake-{number}", "nothing was said"), f"{dashboard}: {wrong}")
