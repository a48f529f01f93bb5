"""The guest book as a visitor sees it: read, sign, and visit it steadily while something happens to it.

The load generator is bounded in rate, number and time, and ends by itself.
"""

from __future__ import annotations

import http.client
import http.cookies
import json
import re
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

from manor.config.errors import ManorError

BALANCER_PORT = 8000
REQUEST_TIMEOUT_S = 10.0
PAGE_BYTES_MAX = 1 << 20
LOAD_THREADS = 4
LOAD_REQUESTS_MAX = 100_000
FAILURES_KEPT = 20
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class SiteFailed(ManorError):
    """http://10.77.0.1:8000/: status 502"""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


def ask(host: str, path: str, *, body: dict[str, str] | None = None, cookie: str = "") -> Answer:
    """One request through the balancer of one node; redirects are not followed.

    Raises:
        SiteFailed: no connection, or no whole answer in REQUEST_TIMEOUT_S.
    """
    connection = http.client.HTTPConnection(host, BALANCER_PORT, timeout=REQUEST_TIMEOUT_S)
    try:
        if body is None:
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        else:
            headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", path, urllib.parse.urlencode(body), headers)
        response = connection.getresponse()
        text = response.read(PAGE_BYTES_MAX).decode(errors="replace")
        return Answer(response.status, response.headers, text)
    except (OSError, http.client.HTTPException) as error:
        raise SiteFailed(f"http://{host}:{BALANCER_PORT}{path}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def read_book(host: str) -> str:
    """The guest book's page."""
    answer = ask(host, "/")
    if answer.status != 200:
        raise SiteFailed(f"http://{host}:{BALANCER_PORT}/: status {answer.status}")
    return answer.text


def sign_book(host: str, name: str, text: str) -> None:
    """Write an entry as a browser would: fetch the form, send it back with its token and cookie."""
    form = ask(host, "/")
    token = _TOKEN.search(form.text)
    if form.status != 200 or token is None:
        raise SiteFailed(f"http://{host}:{BALANCER_PORT}/: status {form.status}, no form in the page")
    jar = http.cookies.SimpleCookie("; ".join(form.headers.get_all("Set-Cookie") or []))
    cookie = f"csrftoken={jar['csrftoken'].value}"
    body = {"csrfmiddlewaretoken": token[1], "name": name, "text": text}
    answer = ask(host, "/", body=body, cookie=cookie)
    if answer.status != 302:
        raise SiteFailed(f"http://{host}:{BALANCER_PORT}/: status {answer.status} to a new entry, 302 expected")


def who_answers(host: str) -> dict[str, str | int]:
    """What the worker that serves the request says of itself: node, instance, worker, version, visits."""
    answer = ask(host, "/whoami")
    if answer.status != 200:
        raise SiteFailed(f"http://{host}:{BALANCER_PORT}/whoami: status {answer.status}")
    told: dict[str, str | int] = json.loads(answer.text)
    return told


@dataclass(slots=True)
class Tally:
    """What a load saw. Read it after `SteadyLoad.stop`."""

    requests: int = 0
    failed: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    instances: set[str] = field(default_factory=set)


class SteadyLoad:
    """Visitors who ask the given nodes in turn, `rate` requests a second together, until stopped or `seconds_max`."""

    def __init__(self, hosts: list[str], *, rate: float, seconds_max: float) -> None:
        self.tally = Tally()
        self._hosts = hosts
        self._pause_s = LOAD_THREADS / rate
        self._ends_at = time.monotonic() + seconds_max
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(LOAD_THREADS)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Tally:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return self.tally

    def _visit(self, turn: int) -> None:
        due = time.monotonic() + self._pause_s * turn / LOAD_THREADS
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            if time.monotonic() > self._ends_at or self.tally.requests >= LOAD_REQUESTS_MAX:
                return
            self._ask_once(self._hosts[turn % len(self._hosts)])
            turn += 1
            due = max(due + self._pause_s, time.monotonic() - self._pause_s)

    def _ask_once(self, host: str) -> None:
        began = time.monotonic()
        told: dict[str, str | int] = {}
        failure = ""
        try:
            told = who_answers(host)
        except (SiteFailed, ValueError) as error:
            failure = str(error)
        took_s = time.monotonic() - began
        with self._lock:
            self.tally.requests += 1
            self.tally.slowest_s = max(self.tally.slowest_s, took_s)
            if failure:
                self.tally.failed += 1
                if len(self.tally.failures) < FAILURES_KEPT:
                    self.tally.failures.append(failure)
            else:
                self.tally.versions.add(str(told["version"]))
                self.tally.instances.add(f"{told['node']} {told['instance']}")
