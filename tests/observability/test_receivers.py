"""prometheus/receivers.sh: which secrets there are decides who hears of alerts, and how."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "prometheus" / "receivers.sh"
RECEIVERS = ["platform", "finops", "oncall", "watchdog"]


class Receivers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.secrets = Path(folder.name)

    def made(self, **secrets):
        """The configuration with these files, and what the script says of it; `finops__mail_to` is finops.mail_to."""
        for name, value in secrets.items():
            (self.secrets / name.replace("__", ".")).write_text(value)
        done = subprocess.run(["sh", SCRIPT, self.secrets, "/run/secrets"], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def ways(self, text):
        """By receiver, how it hears."""
        receivers = text.split("\nreceivers:\n")[1]
        blocks = dict(re.findall(r"  - name: (\w+)\n((?:    .*\n)*)", receivers))
        self.assertEqual(list(blocks), RECEIVERS)
        return {name: re.findall(r"^    (\w+)_configs:", block, re.M) for name, block in blocks.items()}

    def checked(self, text):
        """Debian's Alertmanager is 0.25; what later ones know is said to it in its own words."""
        text = re.sub(r"\burl_file: \S+", "url: http://127.0.0.1/", text)
        text = re.sub(r"    msteamsv2_configs:\n      - webhook_url_file: \S+\n((?:        .*\n)*)", "", text)
        file = self.secrets / "made.yml"
        file.write_text(text)
        done = subprocess.run(["amtool", "check-config", file], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_without_secrets_everybody_keeps_silent(self):
        status, text, said = self.made()
        self.assertEqual(status, 0, said)
        self.assertEqual(self.ways(text), {name: [] for name in RECEIVERS})
        self.checked(text)

    def test_a_file_is_for_all_who_own_something_but_the_watchdog(self):
        status, text, said = self.made(slack_url="https://slack.example/x")
        self.assertEqual(status, 0, said)
        self.assertEqual(self.ways(text), {"platform": ["slack"], "finops": ["slack"], "oncall": ["slack"], "watchdog": []})
        self.assertIn("api_url_file: /run/secrets/slack_url\n", text)
        self.assertIn("oncall: slack\n", said)
        self.checked(text)

    def test_every_way_at_once_and_no_secret_in_what_is_made(self):
        status, text, said = self.made(
            slack_url="https://slack.example/canary-1",
            oncall__teams_url="https://teams.example/canary-2",
            finops__webhook_url="https://hook.example/canary-3",
            webhook_token="canary-4",
            finops__mail_to="o'brien@example.com\n",
            mail_from="farebox@example.com",
            mail_smarthost="mail.example.com:587",
            mail_username="farebox",
            mail_password="canary-5",
            watchdog__webhook_url="https://dead.example/canary-6",
        )
        self.assertEqual(status, 0, said)
        self.assertEqual(self.ways(text), {"platform": ["slack"], "finops": ["slack", "webhook", "email"], "oncall": ["slack", "msteamsv2"], "watchdog": ["webhook"]})
        self.assertNotIn("canary", text + said)
        self.assertIn("to: 'o''brien@example.com'", text)
        self.assertIn("webhook_url_file: /run/secrets/oncall.teams_url\n", text)
        self.assertIn("authorization: {credentials_file: /run/secrets/webhook_token}", text)
        self.checked(text)

    def test_a_mail_without_a_sender_is_refused_by_name(self):
        status, _, said = self.made(mail_to="a@example.com")
        self.assertNotEqual(status, 0)
        self.assertIn("mail_from", said)

    def test_an_empty_file_is_none(self):
        status, text, said = self.made(slack_url="")
        self.assertEqual((status, self.ways(text)["finops"]), (0, []), said)
