"""Clients of the vendors' SDKs that are made after `configure` call through Farebox."""

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from ._attribution import headers

# Module → where its API is below Farebox's address; constructors; and the variable by which its SDK is pointed
# elsewhere, which counts as said by the program.
SDKS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "openai": ("/v1", ("OpenAI", "AsyncOpenAI"), "OPENAI_BASE_URL"),
    "anthropic": ("/anthropic", ("Anthropic", "AsyncAnthropic"), "ANTHROPIC_BASE_URL"),
}

_originals: dict[type, Callable[..., None]] = {}


def configure(
    url: str | None = None,
    *,
    key: str | None = None,
    organisation: str | None = None,
    team: str | None = None,
    project: str | None = None,
    user: str | None = None,
    end_user: str | None = None,
    session: str | None = None,
    run: str | None = None,
    environment: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Points every client of `openai` and `anthropic` that is made from now on at the Farebox at `url`.

    `url` is that of its data port (`http://127.0.0.1:4000`), else FAREBOX_URL; `key` a virtual key, else FAREBOX_KEY, else
    clients keep their own. Called again, it says everything anew. Raises ValueError for what cannot be an address or a
    header.
    """
    url = (url or os.environ.get("FAREBOX_URL") or "http://127.0.0.1:4000").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address of a Farebox: write http://127.0.0.1:4000")
    key = key or os.environ.get("FAREBOX_KEY") or None
    said = headers(
        organisation=organisation,
        team=team,
        project=project,
        user=user,
        end_user=end_user,
        session=session,
        run=run,
        environment=environment,
        tags=tags,
    )
    reset()
    for module_name, (path, constructors, variable) in SDKS.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        for name in constructors:
            _point(getattr(module, name), url + path, variable, key, said)


def reset() -> None:
    """Clients that are made from now on go where they went before `configure`."""
    for client, original in _originals.items():
        client.__init__ = original  # type: ignore[misc]
    _originals.clear()


def _point(client: type, base_url: str, variable: str, key: str | None, said: dict[str, str]) -> None:
    original: Callable[..., None] = client.__init__  # type: ignore[misc]

    @functools.wraps(original)
    def through_farebox(self: Any, *args: Any, **options: Any) -> None:
        if options.get("base_url") is None and not os.environ.get(variable):
            options["base_url"] = base_url
        # A client that goes elsewhere is not ours: neither our key nor whose it is are that server's business.
        if str(options.get("base_url") or os.environ.get(variable)).rstrip("/") == base_url:
            own = options.get("default_headers") or {}
            theirs = {name.lower() for name in own}
            ours = {name: value for name, value in said.items() if name not in theirs}
            options["default_headers"] = {**ours, **own}
            if key is not None and options.get("api_key") is None:
                options["api_key"] = key
        original(self, *args, **options)

    _originals[client] = original
    client.__init__ = through_farebox  # type: ignore[misc]
