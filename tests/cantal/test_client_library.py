"""What programs do with the client library, and what the files then hold."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from manor.cantal import client
from manor.cantal.client import asgi, dbapi, wsgi
from manor.cantal.client import fork as fork_module
from manor.cantal.client.tracker import HttpTracker

pytestmark = pytest.mark.case("cantal-59")

SOURCES = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def collection() -> client.Collection:
    return client.Collection()


def numbers(path: Path, code: str = "Q") -> tuple[int, ...]:
    data = path.with_name(path.name + ".values").read_bytes()
    return struct.unpack(f"={len(data) // 8}{code}", data)


class TestTheFiles:
    def test_the_layout_is_sorted_by_size_and_aligned(self, collection: client.Collection, tmp_path: Path) -> None:
        client.State(metric="now", collection=collection)
        client.Counter(metric="hits", collection=collection)
        collection.start(str(tmp_path / "app"))
        assert (
            tmp_path / "app.meta"
        ).read_text() == 'counter 8: {"metric": "hits"}\npad 56\nstate 64: {"metric": "now"}'
        assert (tmp_path / "app.values").stat().st_size == 128

    def test_odd_sizes(self, collection: client.Collection, tmp_path: Path) -> None:
        client.Float(b="2", a="1", collection=collection)
        client.Integer(z="é", collection=collection)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.State(size=16, name="short", collection=collection)
            client.State(size=5, name="odd", collection=collection)
        assert len(caught) == 2
        collection.start(str(tmp_path / "app"))
        assert (tmp_path / "app.meta").read_text().split("\n") == [
            'level 8 float: {"a": "1", "b": "2"}',
            'level 8 signed: {"z": "\\u00e9"}',
            'state 13: {"name": "odd"}',
            "pad 3",
            'state 24: {"name": "short"}',
        ]

    def test_what_was_counted_before_the_start_is_there(self, collection: client.Collection, tmp_path: Path) -> None:
        hits = client.Counter(metric="hits", collection=collection)
        hits.incr(5)
        active = collection.start(str(tmp_path / "app/"))
        hits.incr()
        assert hits.get() == 6
        assert numbers(tmp_path / "app") == (6,)
        assert oct((tmp_path / "app.meta").stat().st_mode)[-3:] == "644"
        active.close()
        active.close()
        assert list(tmp_path.iterdir()) == []
        hits.incr()
        assert hits.get() == 7, "objects go on working when nobody is looking any more"

    def test_a_full_or_missing_directory_is_an_error_of_start_only(self, collection: client.Collection) -> None:
        client.Counter(metric="hits", collection=collection)
        with pytest.raises(FileNotFoundError):
            collection.start("/nowhere/at/all")

    def test_old_files_are_replaced(self, collection: client.Collection, tmp_path: Path) -> None:
        (tmp_path / "app.meta").write_text("old")
        (tmp_path / "app.values").write_text("old")
        client.Counter(metric="hits", collection=collection)
        collection.start(str(tmp_path / "app"))
        assert numbers(tmp_path / "app") == (0,)


class TestTheObjects:
    def test_a_counter_only_grows_and_wraps(self, collection: client.Collection) -> None:
        counter = client.Counter(metric="c", collection=collection)
        counter += 2**64 - 1
        counter.incr(3)
        assert counter.get() == 2
        with pytest.raises(ValueError, match="only grows"):
            counter.incr(-1)

    def test_levels(self, collection: client.Collection) -> None:
        level = client.Level(metric="i", collection=collection)
        assert isinstance(level, client.Integer)
        level.set(3)
        level.decr(5)
        assert (level.get(), level[0]) == (-2, -2)
        level[0] = 2**63 - 1
        with pytest.raises(OverflowError):
            level.incr()
        fraction = client.Level("float", metric="f", collection=collection)
        assert isinstance(fraction, client.Float)
        fraction[0] = 0.5
        fraction.incr()
        fraction += 0.25
        assert fraction.get() == 1.75

    def test_a_state_is_cut_at_a_character_and_keeps_its_text_when_left(
        self, collection: client.Collection, tmp_path: Path
    ) -> None:
        state = client.State(metric="s", collection=collection)
        collection.start(str(tmp_path / "app"))
        with state.context("abc"):
            data = (tmp_path / "app.values").read_bytes()
            assert int.from_bytes(data[:8], sys.byteorder) > 1_600_000_000_000
            assert data[8:12] == b"abc\0"
        data = (tmp_path / "app.values").read_bytes()
        assert data[:8] == bytes(8) and data[8:12] == b"abc\0"
        state.enter("x" * 55 + "é")
        assert (tmp_path / "app.values").read_bytes()[8:] == b"x" * 55 + b"\0"

    def test_mistakes_in_declarations(self, collection: client.Collection, tmp_path: Path) -> None:
        client.Counter(metric="a", group="b", collection=collection)
        with pytest.raises(client.DuplicateValueException):
            client.Integer(group="b", metric="a", collection=collection)
        with pytest.raises(TypeError):
            client.Counter("a")  # type: ignore[misc]
        with pytest.raises(TypeError, match="pid=1"):
            client.Counter(pid=1, collection=collection)  # type: ignore[arg-type]
        collection.start(str(tmp_path / "app"))
        with pytest.raises(RuntimeError, match="after start"):
            client.Counter(metric="late", collection=collection)
        with pytest.raises(RuntimeError, match="already called"):
            collection.start(str(tmp_path / "other"))


class ScriptedClock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class TestFork:
    def test_counts_and_durations_follow_the_clock(
        self, collection: client.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ScriptedClock()
        monkeypatch.setattr(fork_module.time, "monotonic", clock.monotonic)
        loop = client.Fork(["read", "write"], state="loop", collection=collection)
        collection.start(str(tmp_path / "app"))
        with loop.context():
            clock.now += 1  # belongs to no branch
            loop.read.enter()
            clock.now += 0.5
            loop.write.enter()
            clock.now += 0.25
            loop.read.enter()
            clock.now += 0.125
        lines = (tmp_path / "app.meta").read_text().split("\n")
        values = dict(zip(lines[:4], numbers(tmp_path / "app"), strict=False))
        assert values == {
            'counter 8: {"metric": "count", "state": "loop.read"}': 2,
            'counter 8: {"metric": "count", "state": "loop.write"}': 1,
            'counter 8: {"metric": "duration", "state": "loop.read"}': 625,
            'counter 8: {"metric": "duration", "state": "loop.write"}': 250,
        }
        assert lines[-1] == 'state 64: {"state": "loop"}'

    def test_nesting_is_an_error_in_the_log(
        self, collection: client.Collection, caplog: pytest.LogCaptureFixture
    ) -> None:
        loop = client.Fork(["read"], state="loop", collection=collection)
        with loop.context(), loop.context():
            loop.read.enter()
        assert len(caplog.records) == 1


def counted(tracker: client.RequestTracker) -> tuple[int, int, int]:
    return tracker.requests.get(), tracker.errors.get(), tracker.in_progress.get()


class TestRequests:
    def test_tracker(self, collection: client.Collection) -> None:
        tracker = client.RequestTracker("db", collection=collection)
        with tracker.request():
            assert counted(tracker) == (0, 0, 1)
        with pytest.raises(ZeroDivisionError), tracker.request():
            raise ZeroDivisionError
        assert counted(tracker) == (2, 1, 0)

        async def some() -> None:
            async with tracker.arequest():
                assert tracker.in_progress.get() == 1

        asyncio.run(some())
        assert counted(tracker) == (3, 1, 0)

    def test_wsgi_requests_last_until_the_answer_is_closed(self, collection: client.Collection) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/broken":
                raise KeyError
            start_response("503 Busy" if environ["PATH_INFO"] == "/busy" else "200 OK", [])
            return iter([b"a", b"b"])

        tracker = HttpTracker("web", collection=collection)
        served = wsgi.Middleware(app, tracker=tracker)
        answer = served({"PATH_INFO": "/"}, lambda *_: None)
        assert next(iter(answer)) == b"a"
        assert counted(tracker) == (0, 0, 1)
        answer.close()  # type: ignore[attr-defined]
        answer.close()  # type: ignore[attr-defined]
        assert counted(tracker) == (1, 0, 0)
        served({"PATH_INFO": "/busy"}, lambda *_: None).close()  # type: ignore[attr-defined]
        with pytest.raises(KeyError):
            served({"PATH_INFO": "/broken"}, lambda *_: None)
        assert counted(tracker) == (3, 2, 0)
        assert [c.get() for c in tracker.responses] == [0, 1, 0, 0, 1]

    def test_asgi_requests_and_sockets(self, collection: client.Collection) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.accept" if scope["ok"] else "websocket.close"})
            else:
                await send({"type": "http.response.start", "status": 404})
            assert tracker.in_progress.get() == 1

        async def send(_message: Any) -> None: ...

        async def run() -> None:
            for scope in ({"type": "http"}, {"type": "websocket", "ok": True}, {"type": "websocket", "ok": False}):
                await asgi.Middleware(app, tracker=tracker)(scope, send, send)  # type: ignore[arg-type]

        tracker = HttpTracker("web", collection=collection)
        asyncio.run(run())
        assert counted(tracker) == (3, 0, 0)
        assert [c.get() for c in tracker.responses] == [1, 0, 0, 2, 0]

    def test_django_requests_sync_async_and_streamed(
        self, collection: client.Collection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from types import ModuleType, SimpleNamespace

        from manor.cantal.client import django

        conf = ModuleType("django.conf")
        conf.settings = SimpleNamespace(CANTAL_GROUP="site")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "django.conf", conf)
        tracker = HttpTracker("site", collection=collection)
        monkeypatch.setitem(django._trackers, "site", tracker)
        plain = SimpleNamespace(status_code=500)
        streamed = SimpleNamespace(status_code=200, streaming=True, close=lambda: None)
        assert django.CantalMiddleware(lambda _request: plain)(None) is plain
        assert counted(tracker) == (1, 1, 0)
        django.CantalMiddleware(lambda _request: streamed)(None)
        assert counted(tracker) == (1, 1, 1)
        streamed.close()
        assert counted(tracker) == (2, 1, 0)

        async def respond(_request: Any) -> Any:
            return plain

        asyncio.run(django.CantalMiddleware(respond)(None))
        assert counted(tracker) == (3, 2, 0)

    def test_database_statements(self, collection: client.Collection) -> None:
        import sqlite3

        tracker = client.RequestTracker("db", collection=collection)
        connection = dbapi.track(sqlite3.connect(":memory:"), tracker)
        cursor = connection.cursor()
        cursor.execute("create table t (n)")
        cursor.executemany("insert into t values (?)", [(1,), (2,)])
        assert list(cursor.execute("select n from t")) == [(1,), (2,)]
        with pytest.raises(sqlite3.OperationalError):
            cursor.execute("nonsense")
        assert counted(tracker) == (4, 1, 0)


def test_increments_of_threads_are_not_lost(collection: client.Collection, tmp_path: Path) -> None:
    counter = client.Counter(metric="c", collection=collection)
    started = threading.Event()

    def work() -> None:
        for i in range(100_000):
            counter.incr()
            if i == 1000:
                started.set()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(60)
    collection.start(str(tmp_path / "app"))  # in the midst of it
    for thread in threads:
        thread.join()
    assert counter.get() == 800_000
    assert numbers(tmp_path / "app") == (800_000,)


def run_program(text: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_the_exit_of_a_forked_child_leaves_the_files(tmp_path: Path) -> None:
    out = run_program(
        """
import os, sys
from manor.cantal import client
hits = client.Counter(metric="hits")
client.start()
assert "CANTAL_PATH" not in os.environ
child = os.fork()
if child == 0:
    hits.incr(3)
    sys.exit()          # with all its exit handlers
os.waitpid(child, 0)
print(sorted(os.listdir(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(client.global_collection._active.path))))
print(hits.get())
""",
        CANTAL_PATH=str(tmp_path / "app"),
    )
    assert out == "['app.meta', 'app.values']\n3\n"
    assert list(tmp_path.iterdir()) == [], "the one that called start removes them"


def test_every_forked_child_may_have_files_of_its_own(tmp_path: Path) -> None:
    out = run_program(
        """
import os, sys
from manor.cantal import client
hits = client.Counter(metric="hits")
hits.incr(10)
client.start(per_process=True)
read, write = os.pipe()
child = os.fork()
if child == 0:
    hits.incr(3)
    os.write(write, str(hits.get()).encode())
    os.read(os.dup(read), 0)
    sys.exit(sorted(os.listdir(os.environ["HERE"])) != sorted(
        ["app.meta", "app.values", f"app.{os.getpid()}.meta", f"app.{os.getpid()}.values"]))
_, status = os.waitpid(child, 0)
print(os.read(read, 10).decode(), hits.get(), status, sorted(os.listdir(os.environ["HERE"])))
""",
        CANTAL_PATH=str(tmp_path / "app"),
        HERE=str(tmp_path),
    )
    assert out == "3 10 0 ['app.meta', 'app.values']\n"


def test_start_says_what_is_missing(tmp_path: Path) -> None:
    out = run_program(
        """
import os, warnings
from manor.cantal import client
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    client.start()
    client.Counter(metric="c")
    active = client.start()
print([str(w.message) for w in caught], active.path == f"{os.environ['XDG_RUNTIME_DIR']}/cantal.{os.getpid()}")
""",
        XDG_RUNTIME_DIR=str(tmp_path),
    )
    assert "before any metric was declared" in out and "CANTAL_PATH is not set" in out and out.endswith("True\n")


def test_the_library_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    import shutil

    room = tmp_path / "manor" / "cantal"
    room.mkdir(parents=True)
    shutil.copytree(SOURCES / "manor/cantal/client", room / "client")
    for name in ("manor/__init__.py", "manor/cantal/__init__.py"):
        shutil.copyfile(SOURCES / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
         "from manor.cantal.client import wsgi, asgi, django, dbapi\n"
         "print(client.__file__ if (client := sys.modules['manor.cantal.client']) else '')"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path))
