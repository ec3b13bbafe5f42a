"""What can be said of the files without running anything but Prometheus's own checkers."""

import importlib.util
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "prometheus"
ALERTS = PROMETHEUS / "rules" / "farebox-alerts.yml"
RECORDING = PROMETHEUS / "rules" / "farebox-recording.yml"
DASHBOARDS = ROOT / "grafana" / "dashboards"
# Written by Prometheus itself.
ITS_OWN = {"up", "ALERTS", "scrape_samples_post_metric_relabeling"}


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def exposed_names():
    """Every name of the table in src/telemetry/names.rs, with what a histogram makes of it."""
    text = (ROOT / "src" / "telemetry" / "names.rs").read_text()
    names = set()
    for kind, name in re.findall(r'= Kind::(\w+)(?:\(\w+\))?,\s*"(\w+)"', text):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "Histogram" else {name}
    return names


def recorded_names():
    return set(re.findall(r"- record: (\S+)", RECORDING.read_text()))


def used_names(text):
    return set(re.findall(r"\b(?:farebox|process)_\w+|\b(?:budget|team|provider|job):farebox_[\w:]+", text))


def alerts():
    """Name and labels of each alert."""
    for name, labels in re.findall(r"- alert: (\w+)\n.*?labels: \{(.*?)\}\n", ALERTS.read_text(), re.S):
        yield name, {key: value.strip("'") for key, value in (one.split(": ") for one in labels.split(", "))}


def reached(file, labels):
    """The receivers that an alert with these labels reaches."""
    status, said = run("amtool", "config", "routes", "test", f"--config.file={file}", *(f"{key}={value}" for key, value in labels.items()))
    assert status == 0, said
    return set(said.split("\n")[0].split(","))


def expressions(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation.get("expr", "")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


class Files(unittest.TestCase):
    def test_prometheus_reads_its_configuration_and_every_rule(self):
        status, said = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
        self.assertEqual(status, 0, said)

    def test_every_alert_fires_when_it_should_and_keeps_silent_when_it_should_not(self):
        status, said = run("promtool", "test", "rules", *sorted((PROMETHEUS / "tests").glob("*.yml")))
        self.assertEqual(status, 0, said)

    def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not(self):
        cases = "".join(path.read_text() for path in (PROMETHEUS / "tests").glob("*.yml"))
        fires = set(re.findall(r'alertname="(\w+)",alertstate="firing"\}\)\n +eval_time: \w+\n +exp_samples:\n', cases))
        silent = set(re.findall(r'alertname="(\w+)",alertstate="firing"\}\)\n +eval_time: \w+\n +exp_samples: \[\]', cases))
        fires |= set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", cases))
        alerts = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
        self.assertEqual(alerts - fires, set(), "never fires in a case")
        self.assertEqual(alerts - silent - {"FareboxWatchdog"}, set(), "is silent in no case")

    def test_alertmanager_sends_each_alert_where_it_belongs(self):
        file = PROMETHEUS / "alertmanager.yml"
        status, said = run("amtool", "check-config", file)
        self.assertEqual(status, 0, said)
        urgent, money = {"oncall", "finops"}, {"finops"}
        for name, labels in alerts():
            if name == "FareboxWatchdog":
                expected = {"watchdog"}
            elif labels["category"] in ("budget", "rules"):
                expected = urgent if labels["severity"] == "critical" else money
            else:
                expected = {"oncall"} if labels["severity"] == "critical" else {"platform"}
            self.assertEqual(reached(file, {"alertname": name, **labels}), expected, name)

    def test_a_route_that_is_taken_away_is_missed(self):
        text = (PROMETHEUS / "alertmanager.yml").read_text()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "alertmanager.yml")
            file.write_text(text.replace("      continue: true\n", "", 1))
            self.assertEqual(reached(file, {"alertname": "FareboxBudgetExhausted", "category": "budget", "severity": "critical"}), {"oncall"})

    def test_every_alert_has_its_section_in_the_runbook(self):
        runbook = (ROOT / "docs" / "runbook.md").read_text()
        sections = {title.strip() for title in re.findall(r"^## (.+)$", runbook, re.M)}
        alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
        links = re.findall(r"runbook_url: docs/runbook\.md#(\w+)", ALERTS.read_text())
        self.assertEqual(links, [name.lower() for name in alerts])
        self.assertEqual(set(alerts), sections)
        self.assertIn(f"{len(alerts)} alerts, each with a section", (ROOT / "docs" / "monitoring.md").read_text())

    def test_the_runbook_names_panels_that_there_are(self):
        named = set()
        for path in DASHBOARDS.glob("*.json"):
            dashboard = json.loads(path.read_text())
            named |= {dashboard["title"]} | {panel["title"] for panel in dashboard["panels"]}
        told = set(re.findall(r"(?<![*\w])\*([^*\n]+)\*", (ROOT / "docs" / "runbook.md").read_text()))
        self.assertGreater(len(told), 5)
        self.assertEqual(told - named, set())

    def test_the_dashboards_are_what_their_source_makes(self):
        spec = importlib.util.spec_from_file_location("dashboards", ROOT / "grafana" / "dashboards.py")
        source = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(source)
        with tempfile.TemporaryDirectory() as folder:
            source.main(Path(folder))
            made = {path.name: path.read_text() for path in Path(folder).iterdir()}
        kept = {path.name: path.read_text() for path in DASHBOARDS.iterdir()}
        again = "run `python3 grafana/dashboards.py`"
        self.assertTrue(kept == made, again)
        for path, drawing in source.maps().items():
            page = (ROOT / path).read_text()
            self.assertTrue(page == source.with_map(page, drawing), f"{path}: {again}")

    def test_every_metric_that_is_named_anywhere_exists(self):
        known = exposed_names() | recorded_names() | ITS_OWN
        for path in [ALERTS, RECORDING]:
            self.assertEqual(used_names(re.sub(r"- (record|alert): .*|dashboard:.*|job=\"farebox\"", "", path.read_text())) - known, set(), path)
        for path in DASHBOARDS.glob("*.json"):
            for title, expression in expressions(json.loads(path.read_text())):
                self.assertEqual(used_names(expression) - known, set(), f"{path.name}: {title}")
        # Documents speak of a histogram as a whole.
        known |= {name.removesuffix("_bucket") for name in known}
        for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
            self.assertEqual(used_names(path.read_text()) - known, set(), path)

    def test_every_panel_says_what_it_shows_in_a_unit_and_overlaps_no_other(self):
        for path in DASHBOARDS.glob("*.json"):
            dashboard = json.loads(path.read_text())
            self.assertEqual((dashboard["schemaVersion"], dashboard["id"]), (39, None))
            self.assertEqual(dashboard["templating"]["list"][0]["type"], "datasource")
            taken = set()
            for panel in dashboard["panels"]:
                at = panel["gridPos"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                where = f"{path.name}: {panel['title']}"
                self.assertFalse(cells & taken, where)
                self.assertLessEqual(at["x"] + at["w"], 24, where)
                taken |= cells
                if panel["type"] != "row":
                    self.assertRegex(panel["description"], r"[.?]$", where)
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], where)
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}", where)
