"""Clients that live in environments of their own: Node's SDKs and Python's frameworks.

Each environment runs its tests once, with its own test runner; each of those is a subtest here. Node's tests look at
what the client got, and the two books are compared here; the frameworks' tests do both.
"""

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from processes import ENVIRONMENTS
from wishes import PNG_BASE64

HERE = Path(__file__).parent
NODE = ENVIRONMENTS / "node"
FRAMEWORKS = ENVIRONMENTS / "frameworks" / "bin" / "python"
RUN_SECONDS_MAX = 150


def test_node(subtests, farebox, simulator, accounts, tmp_path):
    for file in (HERE / "node").glob("*.mjs"):
        shutil.copy(file, NODE)
    report = tmp_path / "report.xml"
    reporter = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
    files = sorted(file.name for file in (HERE / "node").glob("*.test.mjs"))
    for name, failure in results(["node", "--test", *reporter, *files], NODE, report, farebox, simulator):
        with subtests.test(name):
            assert failure is None, failure
            accounts.agree(name)


def test_frameworks(subtests, farebox, simulator, tmp_path):
    report = tmp_path / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir=.", "--confcutdir=.", f"--junitxml={report}"]
    command = [FRAMEWORKS, "-m", "pytest", *options]
    for name, failure in results(command, HERE / "frameworks", report, farebox, simulator):
        with subtests.test(name):
            assert failure is None, failure


def results(command, place, report, farebox, simulator):
    """Each test of another runner, and how it failed if it did."""
    surroundings = {
        **os.environ,
        "TEST_FAREBOX": farebox.url,
        "TEST_ADMIN": farebox.admin,
        "TEST_SIMULATOR": simulator.url,
        "TEST_PNG_BASE64": PNG_BASE64,
    }
    command = [str(word) for word in command]
    ran = subprocess.run(command, cwd=place, env=surroundings, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    assert report.exists() and report.stat().st_size, ran.stdout + ran.stderr
    cases = list(ET.parse(report).getroot().iter("testcase"))
    assert cases, ran.stdout + ran.stderr
    assert ran.returncode == 0 or any(failure_of(case) for case in cases), ran.stdout + ran.stderr
    return [(case.get("name"), failure_of(case)) for case in cases]


def failure_of(case):
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            return f"{kind}: {found.get('message')}\n{''.join(found.itertext())}"
    return None
