"""A real OpenID Connect server from a package, on a port of its own, that also checks PKCE (RFC 7636, S256).

`PUT /fault/{name}` makes it answer wrongly, in one way, until `PUT /right`; `PUT /new-key` changes its key."""

import base64
import dataclasses
import hashlib
import json
import os
import sys

import flask
from authlib import jose
from oidc_provider_mock import _app, app
from werkzeug.serving import make_server

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
server = app(require_nonce=True)
# By client: what the last authorization request promised.
challenges = {}
# What is to go wrong.
faults = set()


@server.before_request
def check_pkce():
    request = flask.request
    if request.path == "/oauth2/authorize":
        if request.args.get("code_challenge_method") != "S256":
            flask.abort(400, "no PKCE")
        challenges[request.args["client_id"]] = request.args["code_challenge"]
    if request.path == "/oauth2/token":
        client = request.authorization.username if request.authorization else request.form["client_id"]
        digest = hashlib.sha256(request.form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != challenges.get(client):
            flask.abort(400, "another verifier")
        spoil_code(request.form["code"])


@server.put("/fault/<name>")
def fault(name):
    faults.add(name)
    return "", 204


@server.put("/new-key")
def new_key():
    flask.g.oidc_provider_mock_storage.jwk = jose.RSAKey.generate_key(is_private=True)
    return "", 204


@server.put("/right")
def right():
    faults.clear()
    return "", 204


def spoil_code(code):
    storage = flask.g.oidc_provider_mock_storage
    if "expired-code" in faults:
        storage.remove_authorization_code(code)
    if "nonce" in faults:
        known = storage.get_authorization_code(code)
        storage.store_authorization_code(dataclasses.replace(known, nonce="of-another-login"))


rightly = _app.OpenIDCode.get_jwt_config


def wrongly(self, grant, client=None):
    config = rightly(self, grant, client)
    if "issuer" in faults:
        config["iss"] = "https://elsewhere.example"
    if "unknown-key" in faults:
        config["key"] = jose.RSAKey.generate_key(is_private=True).as_dict(is_private=True)
    if "audience" in faults:
        config["aud"] = ["another-client"]
    if "old-token" in faults:
        config["exp"] = -3600
    if "no-signature" in faults:
        config["alg"] = "none"
    return config


_app.OpenIDCode.get_jwt_config = wrongly

listening = make_server("127.0.0.1", 0, server, threaded=True)
print(json.dumps({"message": "listening", "data": f"127.0.0.1:{listening.port}"}), flush=True)
try:
    listening.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
