"""docker-compose.yml and the Dockerfile: read by Docker's own Compose, and the containers' command lines run by the same
binary, as the same user, without capabilities, on a configuration that it cannot write. No engine is needed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "sdk"))
from processes import BINARY, Program, until  # noqa: E402

COMPOSE = os.environ.get("FAREBOX_COMPOSE", "").split()
FILE = ROOT / "docker-compose.yml"
ALWAYS = {"farebox", "prometheus", "receivers", "alertmanager", "grafana"}
DEMO = {"farebox-demo", "simulator", "traffic"}
NOBODY = 65532


def asked(file, *words):
    return subprocess.run([*COMPOSE, "-f", str(file), *words], cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": "/"})


@unittest.skipUnless(COMPOSE, "no Compose is on this machine")
class Parsed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = asked(FILE, "--profile", "demo", "config", "--format", "json")
        assert done.returncode == 0, done.stderr
        cls.services = json.loads(done.stdout)["services"]

    def test_compose_reads_the_file_and_finds_mistakes(self):
        done = asked(FILE, "config", "-q")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        for right, wrong in [
            ("    ports:", "    portss:"),
            ("condition: service_healthy", "condition: service_well"),
            ("- ledger:/var", "- ledgr:/var"),
        ]:
            with tempfile.NamedTemporaryFile("w", suffix=".yml", dir=ROOT / "target") as mistaken:
                mistaken.write(FILE.read_text().replace(right, wrong, 1))
                mistaken.flush()
                self.assertNotEqual(asked(mistaken.name, "--profile", "demo", "config", "-q").returncode, 0, wrong)

    def test_the_demo_is_extra(self):
        self.assertEqual(set(asked(FILE, "config", "--services").stdout.split()), ALWAYS)
        self.assertEqual(set(self.services), ALWAYS | DEMO)

    def test_nothing_is_published_beyond_this_machine(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertEqual(port["host_ip"], "127.0.0.1", name)
        published = {port["published"]: port["target"] for port in self.services["farebox"]["ports"]}
        self.assertEqual(published, {"4000": 4000, "4001": 4001})

    def test_whoever_calls_needs_a_key_and_the_first_start_makes_one(self):
        said = self.services["farebox"]["environment"]
        self.assertEqual((said["FAREBOX_ACCESS"], said["FAREBOX_MINT_ON_FIRST_START"]), ("keys", "yes"))
        self.assertNotIn("FAREBOX_OPEN_ON_PUBLIC", said)

    def test_no_container_may_do_more_than_it_must(self):
        for name, service in self.services.items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)
            self.assertNotIn("privileged", service, name)
            self.assertRegex(service["image"], r"^[a-z/]+:v?\d+\.\d+\.\d+$", f"{name}: a tag that stays")
            for mount in service.get("volumes", []):
                if mount["type"] == "bind":
                    source = Path(mount["source"]).relative_to(ROOT)
                    self.assertTrue(mount["read_only"], f"{name}: {source}")
                    self.assertTrue((ROOT / source).exists() or source.parts[0] == "secrets", f"{name}: {source}")
        for name in {"farebox"} | DEMO:
            self.assertEqual(self.services[name]["user"], f"{NOBODY}:{NOBODY}", name)

    def test_secrets_are_files_and_never_in_the_repository(self):
        for name in ("farebox", "alertmanager"):
            places = {mount["target"]: mount["source"] for mount in self.services[name]["volumes"]}
            self.assertEqual(places["/run/secrets"], str(ROOT / "secrets" / name))
        self.assertIn("secrets/", (ROOT / ".gitignore").read_text().split())
        self.assertIn("secrets", (ROOT / ".dockerignore").read_text().split())
        for name, service in self.services.items():
            for variable, value in (service.get("environment") or {}).items():
                if re.search("KEY|TOKEN|PASSWORD", variable):
                    self.assertIn(value, ("", None), f"{name}: {variable}")

    def test_prometheus_remembers_two_months_and_finds_what_it_reads(self):
        prometheus = self.services["prometheus"]
        self.assertIn("--storage.tsdb.retention.time=90d", prometheus["command"])
        self.assertIn({"type": "bind", "source": str(ROOT / "prometheus"), "target": "/etc/prometheus"}, [
            {key: mount[key] for key in ("type", "source", "target")} for mount in prometheus["volumes"]])
        provisioned = (ROOT / "grafana/provisioning/dashboards/farebox.yaml").read_text()
        mounts = [mount["target"] for mount in self.services["grafana"]["volumes"]]
        self.assertIn(re.search(r"path: ([\w/]+)", provisioned).group(1), mounts)


@unittest.skipUnless(COMPOSE, "no Compose is on this machine")
class Containers(unittest.TestCase):
    """The demo's three containers without containers."""

    def setUp(self):
        done = asked(FILE, "--profile", "demo", "config", "--format", "json")
        self.services = json.loads(done.stdout)["services"]
        self.place = Path(tempfile.mkdtemp(prefix="farebox-compose-"))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.place.chmod(0o755)
        self.binary = self.place / "farebox"
        shutil.copy(BINARY, self.binary)
        for folder in ("config", "rules"):
            shutil.copytree(ROOT / folder, self.place / folder)
        self.ledger = self.place / "ledger"
        self.ledger.mkdir()
        # As Docker does for the volume, from the image's own folder.
        if os.geteuid() == 0:
            os.chown(self.ledger, NOBODY, NOBODY)
            self.as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all",
                              "--bounding-set=-all", "--no-new-privs"]
        else:
            self.as_nobody = []

    def run_service(self, name, addresses, command=None):
        """The service as the compose file has it, but for its addresses and the places of its mounts."""
        service = self.services[name]
        places = {mount["target"]: self.place / Path(mount["source"]).name for mount in service.get("volumes", []) if mount["type"] == "bind"}
        places["/var/lib/farebox"] = self.ledger

        def here(text):
            for old, new in {**addresses, **places}.items():
                text = text.replace(str(old), str(new))
            return text

        environment = {key: here(value) for key, value in (service.get("environment") or {}).items() if value is not None}
        words = [here(word) for word in command or service.get("command") or ["serve"]]
        environment |= {"FAREBOX_LOG_FORMAT": "json"} if words[0] == "serve" else {}
        program = Program(*self.as_nobody, self.binary, *words, env=environment, cwd="/")
        self.addCleanup(program.stop)
        return program

    def test_the_demo_runs_as_the_compose_file_says(self):
        simulator = self.run_service("simulator", {"0.0.0.0:4010": "127.0.0.1:0"})
        address = re.compile(r"listens on (http://[0-9.:]+)")
        url = simulator.first(lambda line: (at := address.search(line)) and at.group(1), "the address")
        demo = self.place / "config" / "demo.yaml"
        demo.write_text(demo.read_text().replace("http://simulator:4010", url))

        farebox = self.run_service("farebox-demo", {"0.0.0.0:4000": "127.0.0.1:0", "0.0.0.0:4001": "127.0.0.1:0"})
        listening = farebox.event("listening")
        health = self.services["farebox-demo"]["healthcheck"]["test"]
        self.assertEqual(health[:2], ["CMD", "/usr/local/bin/farebox"])
        check = self.run_service("farebox-demo", {"127.0.0.1:4001": listening["admin"]}, health[2:])
        self.assertEqual(check.process.wait(10), 0, check.said())

        traffic = self.run_service("traffic", {"http://farebox-demo:4000": f"http://{listening['data']}"})
        exposed = f"http://{listening['admin']}/metrics"

        def used():
            text = urllib.request.urlopen(exposed).read().decode()
            return all(f'farebox_budget_spent_usd{{budget="{name}"' in text for name in ("company-month", "support-day", "research-hour")) and \
                re.search(r'farebox_model_swaps_total\{.*rule="small-is-enough".*\} [1-9]', text)

        until(used, "the demo's budgets and its swap show")
        for program in (traffic, farebox, simulator):
            self.assertEqual(program.stop(signal.SIGTERM), 0, program.said())
        check = self.run_service("farebox-demo", {"127.0.0.1:4001": listening["admin"]}, health[2:])
        self.assertEqual(check.process.wait(10), 1, "nobody is there any more")

    def test_the_first_start_prints_a_key_and_a_token_that_open_both_ports(self):
        here = {"0.0.0.0:4000": "127.0.0.1:0", "0.0.0.0:4001": "127.0.0.1:0"}
        farebox = self.run_service("farebox", here)
        listening = farebox.event("listening")
        kept = (self.ledger / "first-start").read_text()
        key, token = re.search(r"virtual key: +(fb-\w+)", kept).group(1), re.search(r"owner: +(fbt\w+)", kept).group(1)
        self.assertEqual((self.ledger / "first-start").stat().st_mode & 0o777, 0o600)
        until(lambda: key in farebox.said() and token in farebox.said(), "both are printed")
        for url, word in ((f"http://{listening['data']}/farebox/me", key), (f"http://{listening['admin']}/api/v1/keys", token)):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url)
            self.assertIn(refused.exception.code, (401, 403), url)
            request = urllib.request.Request(url, headers={"authorization": f"Bearer {word}"})
            self.assertEqual(until(lambda request=request: opened(request), url), 200)

    def test_the_demo_s_rules_do_what_they_are_meant_to_do(self):
        settings = {"FAREBOX_CONFIG": str(self.place / "config" / "demo.yaml"), "FAREBOX_RULES__DIR": str(self.place / "rules" / "demo")}
        tested = subprocess.run([self.binary, "rules", "test"], env={"PATH": os.environ["PATH"], **settings}, cwd=self.place, capture_output=True, text=True)
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_the_binary_cannot_write_its_configuration(self):
        wrote = subprocess.run([*self.as_nobody, "touch", self.place / "config" / "demo.yaml"], capture_output=True)
        self.assertNotEqual(wrote.returncode, 0)


def opened(request):
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError:
        return None


class Image(unittest.TestCase):
    LINES = (ROOT / "Dockerfile").read_text().splitlines()

    def test_the_image_is_farebox_and_nothing_else(self):
        stages = [line.split()[1] for line in self.LINES if line.startswith("FROM ")]
        self.assertRegex(stages[0], r"^rust:\d+\.\d+\.\d+-\w+$")
        self.assertRegex(stages[1], r"distroless/.*:nonroot$")
        self.assertEqual(len(stages), 2)
        self.assertIn(f"USER {NOBODY}:{NOBODY}", self.LINES)
        self.assertTrue(any(line.startswith("HEALTHCHECK") and '["/usr/local/bin/farebox", "healthcheck"]' in line for line in self.LINES))
        self.assertIn('ENTRYPOINT ["/usr/local/bin/farebox"]', self.LINES)
        self.assertIn('CMD ["serve"]', self.LINES)

    def test_the_toolchain_is_the_one_that_the_crate_asks_for(self):
        wanted = re.search(r'^rust-version = "(\d+\.\d+)', (ROOT / "Cargo.toml").read_text(), re.M)
        if wanted:
            had = re.search(r"FROM rust:(\d+\.\d+)", "\n".join(self.LINES)).group(1)
            self.assertGreaterEqual([int(part) for part in had.split(".")], [int(part) for part in wanted.group(1).split(".")])

    def test_what_the_image_is_built_from_is_a_whole_crate(self):
        left_out = set((ROOT / ".dockerignore").read_text().split())
        tracked = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
        with tempfile.TemporaryDirectory() as folder:
            for name in filter(None, tracked):
                if not any(name == one or name.startswith(f"{one}/") for one in left_out) and (ROOT / name).exists():
                    place = Path(folder, name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, place)
            read = subprocess.run(["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"], cwd=folder, capture_output=True, text=True)
            self.assertEqual(read.returncode, 0, read.stderr)
            for path in Path(folder, "src").rglob("*.rs"):
                if path.name.endswith("tests.rs"):
                    continue
                for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text()):
                    self.assertTrue((path.parent / included).exists(), f"{path}: {included}")

    def test_its_steps_can_be_taken_and_what_they_make_runs(self):
        """`make image-steps` builds; here the binary at hand stands for what would be built."""
        environment = os.environ | {"FAREBOX_IMAGE_BINARY": os.environ["FAREBOX_BIN"]}
        took = subprocess.run([ROOT / "tools" / "image-steps"], env=environment, capture_output=True, text=True)
        self.assertEqual(took.returncode, 0, took.stdout + took.stderr)
        self.assertIn("the image adds usr/local/bin/farebox\n", took.stdout)
        self.assertIn("stopped as asked", took.stdout)
