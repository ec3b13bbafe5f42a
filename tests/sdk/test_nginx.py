"""nginx on both sides: before Farebox with a path prefix, and before the provider with TLS by an authority of its own."""

import shutil
import socket
import subprocess
from pathlib import Path

import openai
import pytest
from accounts import Accounts, cost_of
from conftest import configuration
from processes import Farebox, Program, until
from test_bytes import CALLS, compared, recorded
from wishes import KEY, QUESTION

ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": QUESTION}]}
NGINX = shutil.which("nginx")
TRIES = 5


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answers(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Nginx(Program):
    """nginx with one server; it cannot choose a port by itself, so another is tried where one was taken meanwhile."""

    def __init__(self, place, server):
        place.mkdir()
        for _ in range(TRIES):
            self.port = free_port()
            temporary = "".join(
                f"{kind}_temp_path {place}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            (place / "nginx.conf").write_text(f"""
                daemon off; worker_processes 1; pid {place}/pid; error_log stderr;
                events {{}}
                http {{ access_log off; {temporary} server {{ {server.replace("PORT", str(self.port))} }} }}""")
            super().__init__(NGINX, "-p", place, "-e", "stderr", "-c", place / "nginx.conf")
            until(lambda: answers(self.port) or self.process.poll() is not None, "nginx listening")
            if self.process.poll() is None:
                return
        raise AssertionError(self.said())


class Authority:
    """A certificate authority, and what it certifies."""

    def __init__(self, place, name):
        place.mkdir()
        self.place, self.name, self.certificate = place, name, place / "ca.pem"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-keyout", place / "ca.key", "-out", self.certificate, "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def certify(self, host):
        """A certificate and its key for a host."""
        key, request, certificate = (self.place / f"{host}.{kind}" for kind in ("key", "csr", "pem"))
        names = self.place / f"{host}.names"
        names.write_text(f"subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\n")
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", request, "-subj", f"/CN={host}"),
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.place / "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", names, "-out", certificate),
        )
        return certificate, key

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def behind(simulator, tmp_path_factory):
    """Farebox below `/llm` of nginx."""
    place = tmp_path_factory.mktemp("behind")
    settings = "path_prefix: /llm\ntrusted_proxies: [127.0.0.1]\n"
    farebox = Farebox(place / "farebox", configuration(simulator.url, settings))
    # What the documents show is what is tested.
    shown = (Path(__file__).parent.parent / "proxies" / "nginx.conf").read_text()
    assert "127.0.0.1:8080" in shown and "127.0.0.1:4000" in shown
    location = shown.replace("127.0.0.1:8080", "127.0.0.1:PORT").replace("127.0.0.1:4000", farebox.authority)
    nginx = Nginx(place / "nginx", location)
    farebox.outside = f"http://127.0.0.1:{nginx.port}/llm"
    yield farebox
    nginx.stop()
    assert farebox.stop() == 0, farebox.said()


@pytest.mark.parametrize(
    "name", ["a chat", "a stream", "a stream with usage asked for", "a stream's tools", "a response's stream"]
)
def test_behind_nginx_the_bytes_are_the_same(simulator, behind, call, name):
    through = recorded(openai.OpenAI, f"{behind.outside}/v1", CALLS[name], {"x-client-request-id": call})
    direct = recorded(openai.OpenAI, f"{simulator.url}/v1", CALLS[name], {"x-client-request-id": f"{call}/direct"})
    assert bytes(direct.body) == bytes(through.body)
    assert direct.status == through.status == 200
    Accounts(simulator.url, behind.admin).agree(call)


def test_behind_nginx_each_chunk_comes_when_it_is_said(simulator, behind, call):
    """The provider falls silent after three chunks: they arrive, although nothing follows them."""
    client = openai.OpenAI(base_url=f"{behind.outside}/v1", api_key=KEY, max_retries=0, timeout=20)
    headers = {"x-client-request-id": call, "x-sim-stall-after": "3"}
    stream = client.chat.completions.create(**ASK, stream=True, extra_headers=headers)
    assert [len(next(stream).choices) for _ in range(3)] == [1, 1, 1]
    stream.close()
    [(_, row)] = Accounts(simulator.url, behind.admin).settled(call)
    assert (row["outcome"], row["usage_source"]) == ("caller_cancelled", "counted")


def test_outside_the_prefix_there_is_nothing(behind):
    with pytest.raises(openai.NotFoundError):
        openai.OpenAI(base_url=f"{behind.url}/v1", api_key=KEY, max_retries=0).chat.completions.create(**ASK)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority") / "ca", "Farebox's tests")


@pytest.fixture(scope="module")
def tls_front(simulator, authority, tmp_path_factory):
    """The provider's own nginx: TLS for `localhost`, then the simulated provider."""
    certificate, key = authority.certify("localhost")
    nginx = Nginx(
        tmp_path_factory.mktemp("front") / "nginx",
        f"""
        listen 127.0.0.1:PORT ssl;
        server_name localhost;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        client_max_body_size 64m;
        location / {{
            proxy_pass {simulator.url};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Connection "";
        }}""",
    )
    nginx.url = f"https://localhost:{nginx.port}"
    yield nginx
    nginx.stop()


def trusting(place, front, ca_file):
    return Farebox(
        place,
        f"""
providers:
  - name: openai
    base_url: {front.url}/openai/v1
    key: caller
    tls: {{ca_file: {ca_file}}}
""",
    )


@pytest.mark.parametrize("name", ["a chat", "a stream", "a response's stream", "embeddings"])
def test_a_provider_behind_tls_of_an_authority_that_is_named(simulator, tls_front, authority, tmp_path, call, name):
    farebox = trusting(tmp_path, tls_front, authority.certificate)
    through = recorded(openai.OpenAI, f"{farebox.url}/v1", CALLS[name], {"x-client-request-id": call})
    direct = recorded(openai.OpenAI, f"{simulator.url}/v1", CALLS[name], {})
    assert bytes(direct.body) == bytes(through.body)
    Accounts(simulator.url, farebox.admin).agree(call)
    assert farebox.stop() == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_provider_of_another_authority_is_refused(simulator, tls_front, tmp_path, call, stream):
    other = Authority(tmp_path / "other", "Somebody else")
    farebox = trusting(tmp_path / "farebox", tls_front, other.certificate)
    client = openai.OpenAI(base_url=f"{farebox.url}/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.InternalServerError) as refusal:
        client.chat.completions.create(**ASK, stream=stream, extra_headers={"x-client-request-id": call})
    assert refusal.value.status_code == 502
    assert "certificate" in refusal.value.message
    rows = until(lambda: farebox.rows(call), "the refused call's rows")
    assert {(row["outcome"], row["status"], cost_of(row)) for row in rows} == {
        ("provider_connection_failed", None, 0)
    }
    assert Accounts(simulator.url, farebox.admin).attempts(call) == []
    assert farebox.stop() == 0
