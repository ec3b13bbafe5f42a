"""Login by an identity provider: a real OpenID Connect server, and a client that does what a browser does."""

import http.cookiejar
import itertools
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from processes import BINARY, ENVIRONMENTS, Program

CONFIGURATION = """\
providers:
  - name: openai
    key: caller
login:
  oidc:
    - name: corp
      issuer: {issuer}
      client_id: farebox
      client_secret: env:CORP_SECRET
      trust_email: {trust_email}
      roles:
        - {{group: admins, role: owner}}
        - {{group: leads, role: manager, team: research}}
        - {{group: staff, role: viewer, team: research}}
"""
SECRET = "the-secret-at-the-provider"
ADMIN = "the-admin-token-of-this-test"
PASSWORD = "correct horse battery staple"


def as_json(body):
    return json.dumps(body).encode()


class Server(Program):
    """The identity provider."""

    def __init__(self):
        super().__init__(ENVIRONMENTS / "api" / "bin" / "python", Path(__file__).with_name("oidc_server.py"))
        self.url = "http://" + self.event("listening")["data"]

    def knows(self, subject, **claims):
        request = urllib.request.Request(f"{self.url}/users/{subject}", as_json(claims), method="PUT")
        request.add_header("content-type", "application/json")
        urllib.request.urlopen(request).close()

    def end(self):
        self.process.kill()
        self.process.wait()

    def does(self, what):
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{what}", method="PUT")).close()


class Farebox(Program):
    """`farebox serve` that knows the identity provider."""

    def __init__(self, place, server, trust_email="no"):
        self.place = place
        (place / "farebox.yaml").write_text(CONFIGURATION.format(issuer=server.url, trust_email=trust_email))
        self.settings = {
            "FAREBOX_LISTEN": "127.0.0.1:0",
            "FAREBOX_ADMIN_LISTEN": "127.0.0.1:0",
            "FAREBOX_DATA_DIR": str(place / "data"),
            "FAREBOX_LOG_FORMAT": "json",
            "FAREBOX_ADMIN_TOKEN": ADMIN,
            "CORP_SECRET": SECRET,
        }
        super().__init__(BINARY, "serve", "--config", place / "farebox.yaml", env=self.settings, cwd=place)
        self.admin = "http://" + self.event("listening")["admin"]

    def log(self):
        return "\n".join(self.lines)

    def asked(self, method, path, body, token=None):
        request = urllib.request.Request(self.admin + path, as_json(body), method=method)
        request.add_header("content-type", "application/json")
        if token:
            request.add_header("authorization", f"Bearer {token}")
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")

    def run(self, *words):
        command = Program(BINARY, *words, env=self.settings, cwd=self.place)
        assert command.process.wait(60) == 0, command.said()
        command._reader.join(10)
        return command.said()


class Browser:
    """Follows redirects and keeps cookies, and types a name at the provider."""

    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, url, json=None, **form):
        body = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(url, body)
        if json is not None:
            request.data = as_json(json)
            request.add_header("content-type", "application/json")
        try:
            answer = self.opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.geturl(), answer.read().decode()

    def log_in(self, farebox, subject):
        """The status and the text at the end of the way."""
        status, form, _ = self.ask(f"{farebox.admin}/login/corp")
        assert status == 200 and "/oauth2/authorize" in form, form
        status, _, text = self.ask(form, sub=subject)
        return status, text

    def logged_in(self, farebox, subject):
        status, text = self.log_in(farebox, subject)
        assert status == 200, text
        return self.me(farebox)

    def me(self, farebox):
        status, _, text = self.ask(f"{farebox.admin}/api/v1/me")
        return status, json.loads(text)

    def session(self):
        return next((cookie for cookie in self.jar if cookie.name == "farebox_session"), None)


@pytest.fixture(scope="module")
def provider():
    server = Server()
    yield server
    server.end()


def opened(place, server, trust_email="no"):
    server.does("right")
    farebox = Farebox(place, server, trust_email)
    try:
        farebox.run("team", "create", "research")
        yield farebox, server
    finally:
        assert farebox.stop() == 0, farebox.said()


@pytest.fixture
def house(tmp_path, provider):
    yield from opened(tmp_path, provider)


@pytest.fixture
def trusting_house(tmp_path, provider):
    yield from opened(tmp_path, provider, trust_email="yes")


def test_a_person_comes_in_by_his_provider_and_his_groups_are_his_roles(house):
    farebox, server = house
    server.knows("7f3a", email="Ann@acme.example", email_verified=True, groups=["leads", "staff", "chess"])
    browser = Browser()
    status, text = browser.log_in(farebox, "7f3a")
    assert status == 200 and "You are logged in" in text, text
    cookie = browser.session()
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "Strict"
    assert cookie.value not in text
    status, me = browser.me(farebox)
    assert (status, me["user"]) == (200, "ann@acme.example")
    assert [(role["role"], role["scope"]["team"]) for role in me["roles"]] == [("manager", "research")]

    # In the session he makes a key, with its CSRF token.
    request = urllib.request.Request(
        f"{farebox.admin}/api/v1/keys", as_json({"name": "notebook", "team": "research"})
    )
    request.add_header("content-type", "application/json")
    request.add_header("x-csrf-token", me["csrf_token"])
    with browser.opener.open(request) as answer:
        assert answer.status == 201

    # Who left a group has its role no more when he comes again; he is the same user still, whatever his address is now.
    server.knows("7f3a", email="ann.smith@acme.example", email_verified=True, groups=["staff"])
    again = Browser()
    assert again.log_in(farebox, "7f3a")[0] == 200
    status, me = again.me(farebox)
    assert (me["user"], [role["role"] for role in me["roles"]]) == ("ann@acme.example", ["viewer"])

    # What a person gave him stays, whatever his groups are.
    farebox.run("member", "grant", "ann@acme.example", "admin", "--team", "research")
    server.knows("7f3a", email="ann@acme.example", email_verified=True, groups=["leads"])
    assert again.log_in(farebox, "7f3a")[0] == 200
    assert [role["role"] for role in again.me(farebox)[1]["roles"]] == ["admin"]
    farebox.run("member", "take", "ann@acme.example", "--team", "research")
    assert again.log_in(farebox, "7f3a")[0] == 200
    server.knows("7f3a", email="ann@acme.example", email_verified=True, groups=[])
    assert again.log_in(farebox, "7f3a")[0] == 200
    assert again.me(farebox)[1]["roles"] == []

    # Nothing secret is in the log, in the audit log, or on disk in the open.
    farebox.run("audit", "verify")
    told = farebox.log() + farebox.run("audit", "list", "--limit", "100", "--json")
    assert "identify" in told and SECRET not in told and cookie.value not in told
    kept = b"".join(path.read_bytes() for path in (farebox.place / "data").rglob("*") if path.is_file())
    assert SECRET.encode() not in kept and cookie.value.encode() not in kept


def test_who_is_not_vouched_for_does_not_come_in(house):
    farebox, server = house
    server.knows("1", email="eve@acme.example", email_verified=True, groups=["chess"])
    status, text = Browser().log_in(farebox, "1")
    assert status == 403 and "no group of yours has a role here" in text, text
    server.knows("2", email="eve@acme.example", email_verified=False, groups=["admins"])
    status, text = Browser().log_in(farebox, "2")
    assert status == 403 and "verified" in text, text
    server.knows("3", groups=["admins"])
    status, text = Browser().log_in(farebox, "3")
    assert status == 403 and "does not tell `email`" in text, text
    # Another who brings the address of a user that is switched off.
    farebox.run("user", "create", "bob@acme.example")
    farebox.run("user", "disable", "bob@acme.example")
    server.knows("4", email="bob@acme.example", email_verified=True, groups=["admins"])
    status, text = Browser().log_in(farebox, "4")
    assert status == 409, text
    assert json.loads(farebox.run("member", "list", "--json")) == []


def test_a_login_is_finished_once_and_only_by_the_browser_that_began_it(house):
    farebox, server = house
    server.knows("7f3a", email="ann@acme.example", email_verified=True, groups=["staff"])
    victim, thief = Browser(), Browser()
    _, form, _ = thief.ask(f"{farebox.admin}/login/corp")

    class Stop(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    stopping = urllib.request.build_opener(Stop())
    try:
        stopping.open(form, urllib.parse.urlencode({"sub": "7f3a"}).encode())
        raise AssertionError("the provider sends nobody back")
    except urllib.error.HTTPError as error:
        back = error.headers["location"]
    assert back.startswith(f"{farebox.admin}/login/corp/callback?")
    # The thief's code in the victim's browser: he would be logged in as somebody else, and not know it.
    status, _, text = victim.ask(back)
    assert status == 401 and json.loads(text)["field"] == "state" and victim.session() is None
    changed = back.replace("state=", "state=x")
    assert thief.ask(changed)[0] == 401
    assert thief.ask(back)[0] == 200
    assert thief.ask(back)[0] == 401, "once"
    assert thief.ask(f"{farebox.admin}/login/nobody")[0] == 404


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nonce", "nonce"),
        ("expired-code", "invalid_grant"),
        ("issuer", "issuer"),
        ("audience", "audience"),
        ("unknown-key", "Signature"),
        ("old-token", "expired"),
        ("no-signature", "No signature"),
    ],
)
def test_an_answer_that_is_not_to_be_believed_lets_nobody_in(house, fault, told):
    farebox, server = house
    server.knows("7f3a", email="ann@acme.example", email_verified=True, groups=["admins"])
    server.does(f"fault/{fault}")
    browser = Browser()
    status, text = browser.log_in(farebox, "7f3a")
    assert (status, json.loads(text)["field"]) == (401, "provider"), text
    assert browser.session() is None
    failed = farebox.event("a login by an identity provider failed")
    assert failed["provider"] == "corp" and told in failed["why"], failed
    assert SECRET not in farebox.log() and SECRET not in text
    # The next one is right again, also with a key that the provider did not have before.
    server.does("right")
    server.does("new-key")
    assert browser.log_in(farebox, "7f3a")[0] == 200


def test_an_address_alone_makes_nobody_a_user_who_was_there_before(house):
    farebox, server = house
    farebox.run("user", "create", "bob@acme.example")
    server.knows("b0b", email="bob@acme.example", email_verified=True, groups=["staff"])
    browser = Browser()
    status, text = browser.log_in(farebox, "b0b")
    assert (status, json.loads(text)["field"]) == (409, "user"), text

    # He says so himself: in a session of his.
    invited = farebox.asked("POST", "/api/v1/users/bob@acme.example/invitation", {}, ADMIN)
    token = invited["link"].partition("#")[2]
    farebox.asked("POST", "/api/v1/invitations/accept", {"token": token, "password": PASSWORD})
    browser.ask(f"{farebox.admin}/api/v1/sessions", json={"user": "bob@acme.example", "password": PASSWORD})
    assert browser.me(farebox)[1]["user"] == "bob@acme.example"
    assert browser.log_in(farebox, "b0b")[0] == 200
    status, me = Browser().logged_in(farebox, "b0b")
    assert (status, me["user"], [role["role"] for role in me["roles"]]) == (200, "bob@acme.example", ["viewer"])

    # And somebody else at the provider is not him for being in his session.
    server.knows("e7e", email="eve@acme.example", email_verified=True, groups=["staff"])
    assert Browser().logged_in(farebox, "e7e")[1]["user"] == "eve@acme.example"
    status, text = browser.log_in(farebox, "e7e")
    assert status == 409, text


def test_where_verified_addresses_are_trusted_they_are_enough(trusting_house):
    farebox, server = trusting_house
    farebox.run("user", "create", "bob@acme.example")
    server.knows("b0b", email="bob@acme.example", email_verified=True, groups=[])
    status, me = Browser().logged_in(farebox, "b0b")
    assert (status, me["user"], me["roles"]) == (200, "bob@acme.example", [])
    server.knows("b1b", email="bob@acme.example", email_verified=False, groups=[])
    assert Browser().log_in(farebox, "b1b")[0] == 403


def test_who_begins_too_often_waits(house):
    farebox, _ = house
    asked = (Browser().ask(f"{farebox.admin}/login/corp")[0] for _ in range(60))
    before = list(itertools.takewhile(lambda status: status != 429, asked))
    assert 20 <= len(before) < 60 and set(before) == {200}, before


def test_a_provider_that_is_away_is_told_and_nothing_is_lost(tmp_path):
    server = Server()
    farebox = Farebox(tmp_path, server)
    server.end()
    status, _, text = Browser().ask(f"{farebox.admin}/login/corp")
    assert status == 503 and json.loads(text)["field"] == "provider"
    assert SECRET not in text and SECRET not in farebox.log()
    assert Browser().ask(f"{farebox.admin}/healthz")[0] == 200
    assert farebox.stop() == 0, farebox.said()
