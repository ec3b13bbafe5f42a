"""Tells Farebox of calls that did not pass through it: in the background, bounded, and again where it was not heard."""

import atexit
import json
import logging
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

# More that waits is dropped, and said so: a program must not grow because Farebox is away.
WAITING_MAX = 10_000
# A telling that is not heard is tried again so often, after 1, 2, 4 … seconds.
TRIES_MAX = 6
TIMEOUT_SECONDS = 10.0

_log = logging.getLogger("farebox")


class Teller:
    """Posts usage to `/api/usage/track`. Each call has an id, so that telling it twice books it once."""

    def __init__(self, admin_url: str | None = None, token: str | None = None, pause_seconds: float = 1.0) -> None:
        """`admin_url` is that of the admin port, else FAREBOX_ADMIN_URL, else http://127.0.0.1:4001; `token` a personal token
        or the admin token, else FAREBOX_ADMIN_TOKEN, else none."""
        url = (admin_url or os.environ.get("FAREBOX_ADMIN_URL") or "http://127.0.0.1:4001").rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a Farebox: write http://127.0.0.1:4001")
        self._url = f"{url}/api/usage/track"
        self._token = token or os.environ.get("FAREBOX_ADMIN_TOKEN") or None
        self._pause_seconds = pause_seconds
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING_MAX)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.dropped = 0

    def tell(self, usage: Mapping[str, Any]) -> None:
        """Returns at once."""
        try:
            self._waiting.put_nowait({name: value for name, value in usage.items() if value is not None})
        except queue.Full:
            self.dropped += 1
            _log.warning("usage is dropped: %d tellings wait for Farebox", WAITING_MAX)
            return
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="farebox", daemon=True)
                self._thread.start()
                atexit.register(self.flush)

    def flush(self, seconds: float = 10.0) -> bool:
        """Waits until everything is told; False: not in this time."""
        until = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
        return not self._waiting.unfinished_tasks

    def _run(self) -> None:
        while True:
            usage = self._waiting.get()
            try:
                self._post(usage)
            except Exception:
                self.dropped += 1
                _log.exception("usage could not be told to Farebox")
            finally:
                self._waiting.task_done()

    def _post(self, usage: dict[str, Any]) -> None:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        body = json.dumps(usage).encode()
        for tried in range(TRIES_MAX):
            request = urllib.request.Request(self._url, body, headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                    return
            except urllib.error.HTTPError as refused:
                # Too many at a time, or away: it heals. Anything else would be refused again.
                if refused.code not in (429, 503):
                    self.dropped += 1
                    _log.error("Farebox refused usage: %s", refused.read(2000).decode(errors="replace"))
                    return
            except OSError:
                pass
            time.sleep(self._pause_seconds * 2**tried)
        self.dropped += 1
        _log.error("Farebox did not hear of a call: it is dropped after %d tries", TRIES_MAX)


def passes_through(base_url: object, farebox_url: str | None) -> bool:
    """Whether a client with this base URL calls through Farebox, which then meters the call itself."""
    ours = (farebox_url or os.environ.get("FAREBOX_URL") or "http://127.0.0.1:4000").rstrip("/")
    return base_url is not None and f"{str(base_url).rstrip('/')}/".startswith(f"{ours}/")
