"""A running Farebox under traffic, scraped by a real Prometheus, whose alerts go through a real Alertmanager to a receiver:
every query of every panel and every rule is asked over HTTP, and a budget that a client overspends is heard of."""

import http.server
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "sdk"))
from processes import Farebox, Program, Simulator, until  # noqa: E402

# How long a condition is waited for. On a machine that is stopped for half a minute now and then it still holds.
PATIENCE_SECONDS = 240
# So many calls have been made before anything is asked: each kind several times.
CALLS_FIRST = 60
SETTINGS = """
default_provider: openai
metrics: {{teams: [search, support], projects: [chat]}}
rules: {{dir: {rules}}}
providers:
  - {{name: openai, base_url: {url}/openai/v1, key: none}}
  - {{name: anthropic, base_url: {url}/anthropic, key: caller}}
  - {{name: ours, dialect: openai, base_url: {url}/openai/v1, key: "file:{key}"}}
"""
# The day of `support-day` began twelve hours ago, or a little more: whatever hour it is, it does not end under the test.
MORNING = f"{(time.gmtime().tm_hour + 12) % 24:02}:00"
RULES = """
version: 1
budgets:
  - {name: search-month, scope: {team: search}, window: month, limit: 500 USD, thresholds: [50%, 80%]}
  - {name: support-day, scope: {team: support}, window: {every: day, from: "MORNING"}, limit: 0.30 USD, clamp: false, thresholds: [50%, 80%]}
swaps:
  - name: small-is-enough
    when: {team: search}
    from: [gpt-4o]
    to: [gpt-4o-mini]
blocks:
  - {name: no-opus, when: {model: claude-opus-*}, message: Ask for sonnet.}
""".replace("MORNING", MORNING)
# Series that come to be only when something is wrong that this test does not do to Farebox.
MAY_BE_EMPTY = {'farebox_requests_total{outcome=~"proxy_.*"}'}
# A budget without instances has none.
MAY_BE_ABSENT = {"scope"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Receiver:
    """Whom Alertmanager tells."""

    def __init__(self):
        heard = self.heard = []

        class Ear(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                heard.extend((self.path.strip("/"), alert) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, name):
        return [(where, alert) for where, alert in self.heard if alert["labels"]["alertname"] == name]


class Traffic:
    """Clients of both teams, and some without; they go on until they are told to stop."""

    CALLS = [
        ("search", "/v1/chat/completions", {"model": "gpt-5", "stream": True}, {"x-sim-output-tokens": "12", "x-sim-chunk-ms": "2"}),
        ("search", "/v1/chat/completions", {"model": "gpt-4o"}, {"x-sim-cached-tokens": "3"}),
        ("support", "/anthropic/v1/messages", {"model": "claude-sonnet-5-5", "max_tokens": 400, "stream": True}, {"x-sim-output-tokens": "200"}),
        ("support", "/anthropic/v1/messages", {"model": "claude-opus-4-8", "max_tokens": 50}, {}),
        ("nobody-knows", "/v1/chat/completions", {"model": "gpt-4o-mini", "stream": True}, {}),
        (None, "/v1/chat/completions", {"model": "no-such-model"}, {}),
        ("search", "/v1/chat/completions", {"model": "gpt-4o"}, {"x-sim-status": "500"}),
        ("search", "/v1/chat/completions", {"model": "gpt-4o-mini", "stream": True}, {"x-sim-usage": "none"}),
        # No price is known at this provider: a team with a budget would be refused.
        (None, "/ours/v1/chat/completions", {"model": "gpt-4o-mini"}, {"x-sim-status": "401"}),
        ("search", "/anthropic/v1/messages", {"model": "claude-sonnet-5-5", "max_tokens": 9}, {"x-sim-status": "401"}),
    ]

    def __init__(self, url):
        self.url, self.stopped, self.made = url, threading.Event(), 0
        self.threads = [threading.Thread(target=self.go_on, args=(start,), daemon=True) for start in range(3)]
        for thread in self.threads:
            thread.start()

    def go_on(self, number):
        while not self.stopped.wait(0.02):
            team, path, body, wishes = self.CALLS[number % len(self.CALLS)]
            number += 1
            body = {"messages": [{"role": "user", "content": "Which of our contracts end this quarter?"}], **body}
            headers = {"content-type": "application/json", "authorization": "Bearer sk-test", "x-farebox-project": "chat", **wishes}
            if team:
                headers["x-farebox-team"] = team
            request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
            try:
                urllib.request.urlopen(request, timeout=30).read()
            except (urllib.error.HTTPError, OSError):
                pass
            self.made += 1

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)


class House:
    """Everything that runs."""

    def __init__(self):
        self.place = Path(tempfile.mkdtemp(prefix="farebox-observability-"))
        self.programs = []
        self.receiver = Receiver()
        self.rules = self.place / "rules" / "rules.yaml"
        self.simulator = self.kept(Simulator())
        self.rules.parent.mkdir()
        self.rules.write_text(RULES)
        key = self.place / "key"
        key.write_text("sk-ours")
        self.farebox = self.kept(Farebox(self.place / "node", SETTINGS.format(url=self.simulator.url, rules=self.rules.parent, key=key)))
        self.start_alertmanager()
        self.start_prometheus()

    def kept(self, program):
        self.programs.append(program)
        return program

    def start_alertmanager(self):
        port = free_port()
        secrets = self.place / "secrets"
        secrets.mkdir()
        for name in ("platform", "finops", "oncall", "watchdog"):
            (secrets / f"{name}.webhook_url").write_text(f"{self.receiver.url}/{name}\n")
        made = subprocess.run([ROOT / "prometheus" / "receivers.sh", secrets], check=True, capture_output=True, text=True)
        text = re.sub(r"group_wait: \w+", "group_wait: 0s", made.stdout)
        text = re.sub(r"group_interval: \w+", "group_interval: 1s", text)
        # Debian's Alertmanager 0.25 does not read a webhook's address from a file yet.
        text = re.sub(r"url_file: (\S+)", lambda at: f"url: {Path(at.group(1)).read_text().strip()}", text)
        file = self.place / "alertmanager.yml"
        file.write_text(text)
        binary = shutil.which("prometheus-alertmanager") or "alertmanager"
        self.kept(Program(binary, f"--config.file={file}", f"--storage.path={self.place}/alertmanager", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="))
        self.alertmanager = f"127.0.0.1:{port}"

    def start_prometheus(self):
        port = free_port()
        shutil.copytree(ROOT / "prometheus" / "rules", self.place / "rules-of-prometheus")
        text = (ROOT / "prometheus" / "prometheus.yml").read_text()
        text = re.sub(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 1s", text)
        text = text.replace("rules/*.yml", f"{self.place}/rules-of-prometheus/*.yml")
        text = text.replace("farebox:4001", self.farebox.admin.removeprefix("http://"))
        # The demo's name is asked of a name server, which may not be here.
        text, demos = re.subn(r"    dns_sd_configs:\n      - .*\n", "", text)
        assert demos == 1, text
        text = text.replace("alertmanager:9093", self.alertmanager).replace("localhost:9090", f"127.0.0.1:{port}")
        for file in (self.place / "rules-of-prometheus").iterdir():
            file.write_text(re.sub(r"interval: 15s", "interval: 1s", file.read_text()))
        file = self.place / "prometheus.yml"
        file.write_text(text)
        self.kept(Program("prometheus", f"--config.file={file}", f"--storage.tsdb.path={self.place}/prometheus", f"--web.listen-address=127.0.0.1:{port}"))
        self.prometheus = f"http://127.0.0.1:{port}"
        until(self.is_ready, "Prometheus is ready")

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"{self.prometheus}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def ask(self, path, **query):
        try:
            with urllib.request.urlopen(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            return json.load(refused)

    def result(self, expression, now=True):
        if now:
            answer = self.ask("query", query=expression)
        else:
            end = time.time()
            answer = self.ask("query_range", query=expression, start=end - 30, end=end, step=2)
        return answer.get("data", {}).get("result", []), answer.get("error")

    def stop(self):
        for program in reversed(self.programs):
            try:
                program.stop()
            except AssertionError:
                program.process.kill()
        self.receiver.server.shutdown()
        shutil.rmtree(self.place, ignore_errors=True)


def asked(expression, values):
    """As Grafana would ask, with `All` chosen everywhere."""
    for name, value in {"$__rate_interval": "8s", "$__range": "30s", "$__interval": "2s", **values}.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def has_a_number(result):
    values = [value for one in result for _, value in ([one["value"]] if "value" in one else one["values"])]
    return any(math.isfinite(float(value)) for value in values)


def faults_of(house, dashboard):
    """What a person would miss on this dashboard."""
    values, faults = {}, []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", asked(variable["query"]["query"], values)).groups()
        found = house.ask(f"label/{label}/values", **{"match[]": metric}).get("data")
        if not found:
            faults.append(f"variable {variable['name']}: no values")
        values[f"${variable['name']}"] = variable.get("allValue") or "|".join(found or [])
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            result, error = house.result(asked(annotation["expr"], values), now=False)
            if error or not has_a_number(result):
                faults.append(f"annotation {annotation['name']}: {error or 'no data'}")
    for panel in dashboard["panels"]:
        name = f"{dashboard['uid']}/{panel['title']}"
        for target in panel.get("targets", []):
            result, error = house.result(asked(target["expr"], values), target["instant"])
            if error:
                faults.append(f"{name}: {error}")
            elif not has_a_number(result):
                faults.append(f"{name}: no data: {target['expr']}")
            for label in set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - MAY_BE_ABSENT:
                if any(label not in one["metric"] for one in result):
                    faults.append(f"{name}: no label {label}")
    return faults


def rule_faults(house, rules):
    """What these rules, (name, expression) each, ask for in vain: an alert that keeps silent must do so for its numbers, and
    not because a series that it looks at does not exist."""
    faults = []
    for name, expression in rules:
        _, error = house.result(expression)
        if error:
            faults.append(f"{name}: {error}")
        for selector in sorted(set(re.findall(r"\b((?:farebox|process)_\w+(?:\{.*?\})?|\w+:farebox_[\w:]+(?:\{.*?\})?|up\{.*?\})", expression))):
            if not house.result(selector)[0] and selector not in MAY_BE_EMPTY:
                faults.append(f"{name}: no data: {selector}")
    return faults


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = House()
        cls.addClassCleanup(cls.house.stop)
        cls.traffic = Traffic(cls.house.farebox.url)
        cls.addClassCleanup(cls.traffic.stop)
        until(lambda: cls.traffic.made >= CALLS_FIRST, "the clients' first calls", PATIENCE_SECONDS)
        until(lambda: cls.house.result('increase(farebox_requests_total{outcome="ok"}[30s]) > 0')[0], "two scrapes under traffic", PATIENCE_SECONDS)
        # A reload, for those who look at dashboards.
        cls.house.rules.write_text(RULES + "# read again\n")

    def test_every_panel_of_every_dashboard_has_data(self):
        for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
            with self.subTest(path.name):
                dashboard = json.loads(path.read_text())
                faults = []

                def is_well(dashboard=dashboard, faults=faults):
                    faults[:] = faults_of(self.house, dashboard)
                    return not faults

                try:
                    until(is_well, "every panel has data", PATIENCE_SECONDS)
                except AssertionError:
                    self.fail("\n".join(faults))

    def test_a_mutated_dashboard_is_found_out(self):
        text = (ROOT / "grafana" / "dashboards" / "farebox-spend.json").read_text()
        for old, new, fault in [
            ("farebox_tokens_total", "farebox_token_total", "no data"),
            ("{{reason}}", "{{why}}", "no label why"),
            ("sum by (model)", "sum by model)", "parse error"),
            ("changes(farebox_config_last", "changes(farebox_last", "annotation Reloads: no data"),
        ]:
            self.assertIn(old, text)
            faults = faults_of(self.house, json.loads(text.replace(old, new)))
            self.assertTrue(any(fault in one for one in faults), f"{new}: {faults}")

    def test_every_rule_can_be_evaluated_and_every_recorded_series_exists(self):
        groups = self.house.ask("rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertGreater(len(rules), 50)
        self.assertEqual([(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"], [])
        for rule in rules:
            if rule["type"] == "recording":
                self.assertTrue(until(lambda rule=rule: self.house.result(rule["name"])[0], rule["name"], PATIENCE_SECONDS))
        named = [(rule["name"], rule["query"]) for rule in rules]
        try:
            until(lambda: not rule_faults(self.house, named), "every rule has what it asks for", PATIENCE_SECONDS)
        except AssertionError:
            self.fail("\n".join(rule_faults(self.house, named)))
        for old, new, fault in [
            ("farebox_ledger_accepting", "farebox_ledger_acepting", "no data"),
            ("farebox_provider_key_refused", "farebox_provider_key_invalid", "no data"),
            ('action="swap"', 'action="swapped"', "no data"),
            ("budget:farebox_used:ratio", "budget:farebox_used:share", "no data"),
            ('up{job="farebox"}', 'up{job="fare-box"}', "no data"),
            ("sum by (job, rule)", "sum by job, rule)", "parse error"),
        ]:
            mutated = [(name, query.replace(old, new)) for name, query in named if old in query]
            self.assertTrue(mutated, old)
            faults = rule_faults(self.house, mutated)
            self.assertTrue(any(fault in one for one in faults), f"{new}: {faults}")

    def test_only_our_own_key_s_refusal_is_our_key_s(self):
        until(lambda: 'farebox_provider_key_refused{provider="ours"} 1' in self.exposition(), "our key is refused", PATIENCE_SECONDS)
        until(lambda: re.search(r'farebox_requests_total\{.*provider="anthropic",.*outcome="provider_auth_failed"', self.exposition()), "a caller's key is refused", PATIENCE_SECONDS)
        self.assertIn('farebox_provider_key_refused{provider="anthropic"} 0', self.exposition())

    def test_the_exposition_satisfies_promtool(self):
        text = urllib.request.urlopen(f"{self.house.farebox.admin}/metrics").read()
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, b"", b""))

    def test_an_overspent_budget_is_heard_of_by_those_who_own_it(self):
        receiver = self.house.receiver

        def heard():
            told = [one for one in receiver.of("FareboxBudgetExhausted") if one[1]["labels"]["budget"] == "support-day"]
            return told if {where for where, _ in told} == {"finops", "oncall"} else []

        # At whatever pace this machine lets the calls be made: first it must be used up.
        refused = re.compile(r'farebox_rule_decisions_total\{rule="support-day",action="block"\} [1-9]')
        until(lambda: refused.search(self.exposition()), "`support-day` refuses", 2 * PATIENCE_SECONDS)
        until(lambda: self.house.result('budget:farebox_used:ratio{budget="support-day"} >= 0.9')[0], "`support-day` shows as used up", PATIENCE_SECONDS)
        told = until(heard, "that the budget `support-day` is used up, by who owns it and who is on call", 2 * PATIENCE_SECONDS)
        self.assertEqual(told[0][1]["annotations"]["summary"], "Budget support-day is used up")
        self.assertTrue(until(lambda: receiver.of("FareboxWatchdog"), "the watchdog", PATIENCE_SECONDS))

    def test_what_a_counter_shows_is_what_the_ledger_has(self):
        self.traffic.stop()
        until(lambda: "farebox_requests_in_flight 0" in self.exposition(), "no call under way", PATIENCE_SECONDS)
        until(lambda: abs(self.shown() - self.booked()) < 1e-9, "the counters and the ledger agree", PATIENCE_SECONDS)

        # And what rules did is counted once.
        totals = {}
        for name, labels, value in re.findall(r"^farebox_(\w+)\{(.*)\} (\S+)$", self.exposition(), re.M):
            for label in re.findall(r'(?:action|kind)="\w+"', labels) or [""]:
                totals[name, label] = totals.get((name, label), 0) + float(value)
        refused = totals["refusals_total", 'kind="blocked"'] + totals["refusals_total", 'kind="budget_exceeded"']
        self.assertGreater(refused, 0)
        self.assertEqual(totals["rule_decisions_total", 'action="block"'], refused)
        self.assertEqual(totals["rule_decisions_total", 'action="swap"'], totals["model_swaps_total", ""])

    def shown(self):
        lines = (line for line in self.exposition().splitlines() if line.startswith("farebox_cost_usd_total{"))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def booked(self):
        with urllib.request.urlopen(f"{self.house.farebox.admin}/api/usage/stats") as answer:
            return float(json.load(answer)["totals"]["cost_usd"])

    def exposition(self):
        with urllib.request.urlopen(f"{self.house.farebox.admin}/metrics") as answer:
            return answer.read().decode()
