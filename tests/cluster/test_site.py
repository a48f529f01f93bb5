"""The visitor and the steady load, against a small server of this test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from manor.cluster import site
from manor.cluster.site import SiteFailed, SteadyLoad
from manor.cluster.wait import TookTooLong, wait_until


class Book(BaseHTTPRequestHandler):
    fail_every = 0
    served = 0
    entries: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Book.served += 1
        if Book.fail_every and Book.served % Book.fail_every == 0:
            self.send_error(502)
            return
        if self.path == "/whoami":
            self.reply(json.dumps({"node": "n", "instance": "site/web.0", "worker": 1, "version": "1", "visits": 1}))
        else:
            form = '<input name="csrfmiddlewaretoken" value="t0ken">'
            self.reply(form + "".join(Book.entries), cookie="csrftoken=c00kie; Path=/")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "csrfmiddlewaretoken=t0ken" not in body or "csrftoken=c00kie" not in self.headers["Cookie"]:
            self.send_error(403)
            return
        Book.entries.append(body)
        self.send_response(302)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def reply(self, text: str, cookie: str = "") -> None:
        self.send_response(200)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Book.fail_every, Book.served, Book.entries = 0, 0, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Book)
    monkeypatch.setattr(site, "BALANCER_PORT", server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "127.0.0.1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_visitor_signs_with_the_forms_token_and_reads_it_back(host: str) -> None:
    site.sign_book(host, "Ann", "lovely")
    assert "text=lovely" in site.read_book(host)


def test_a_steady_load_counts_every_failure_and_keeps_the_first(host: str) -> None:
    Book.fail_every = 10
    with SteadyLoad([host], rate=200, seconds_max=30) as load:
        wait_until("a hundred requests", lambda: load.tally.requests >= 100, within_s=30)
    tally = load.stop()
    assert tally.failed == Book.served // 10
    assert tally.failures[0].endswith("/whoami: status 502")
    assert tally.instances == {"n site/web.0"}


def test_nobody_listening_is_one_line_with_the_address() -> None:
    with pytest.raises(SiteFailed, match=r"^http://127\.0\.0\.1:8000/: .*refused"):
        site.read_book("127.0.0.1")


def test_waiting_ends_with_the_last_reason() -> None:
    def never() -> bool:
        raise SiteFailed("status 502")

    with pytest.raises(TookTooLong, match="the site: not within 0 s; the last try said: status 502"):
        wait_until("the site", never, within_s=0.2)
