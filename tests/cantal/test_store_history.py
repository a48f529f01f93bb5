"""What goes into the store comes out of it, whatever happened between."""

from __future__ import annotations

import logging
import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.cantal.query.conditions import All, Eq
from manor.cantal.query.document import parse_document
from manor.cantal.query.encode import to_plain
from manor.cantal.query.evaluate import evaluate
from manor.cantal.store.codec import pack, unpack
from manor.cantal.store.directory import StorageDirectory, StorageUnusable
from manor.cantal.store.frame import Frame, join
from manor.cantal.store.keys import decode_key, encode_key, key_of
from manor.cantal.store.series import REFUSED, Columns, Kind, Series
from manor.cantal.store.states import StateSample
from manor.cantal.store.store import NO_IDS, Store

INTERVAL = 2000
FIRST = 1_700_000_000_000
HOUR = 3_600_000


def counter(**pairs: str) -> Series:
    return Series(key_of(pairs), Kind.COUNTER)


def put(store: Store, time: int, samples: dict[Series, int], broken: tuple[Series, ...] = ()) -> None:
    """One tick of 64-bit values."""
    ids = np.array([store.table.intern(one) for one in samples], np.int32)
    breaks = np.array([store.table.intern(one) for one in broken], np.int32) if broken else NO_IDS
    store.append(time, 1, ids, np.array(list(samples.values()), np.uint64), breaks)


def everything(store: Store) -> Frame:
    view = store.view()
    return view.frame(view.matching(All()), 0, len(view.times))


def column(frame: Frame, one: Series) -> list[int | None]:
    i = frame.series.index(one)
    return [int(v) if p else None for v, p in zip(frame.bits[:, i], frame.present[:, i], strict=True)]


def rows_of(bits: int) -> float:
    return struct.unpack("d", struct.pack("Q", bits))[0]  # type: ignore[no-any-return]


def awkward_bits(rng: random.Random, kind: Kind) -> int:
    """Numbers that were trouble to somebody."""
    if kind is Kind.FLOAT:
        choices = [0x7FF8000000000000, 0x7FF8DEADBEEF0001, 0xFFF0000000000000, 0x8000000000000000, 1]
        return rng.choice([*choices, struct.unpack("Q", struct.pack("d", rng.uniform(-1e9, 1e9)))[0]])
    return rng.choice([0, 2**64 - 1, 2**63, 2**63 - 1, rng.randrange(2**64), rng.randrange(1000)])


@pytest.mark.case("cantal-27")
def test_every_sample_comes_back_bit_for_bit_and_every_gap_at_its_own_tick() -> None:
    rng = random.Random(27)
    kinds = [Kind.COUNTER, Kind.INTEGER, Kind.FLOAT]
    series = [Series(key_of(metric="m", n=str(i)), kinds[i % 3]) for i in range(1000)]
    store = Store(INTERVAL, HOUR)
    told: dict[Series, list[int | None]] = {one: [] for one in series}
    for tick in range(400):
        present = {one: awkward_bits(rng, one.kind) for one in series if rng.random() < 0.8}
        put(store, FIRST + tick * INTERVAL, present)
        for one in series:
            told[one].append(present.get(one))
        if tick % 90 == 0:
            store.seal_full()
    store.seal_full()
    assert len(store.contents().sealed) == 6 and store.contents().unsealed.rows == 40
    frame = everything(store)
    assert frame.times.tolist() == [FIRST + tick * INTERVAL for tick in range(400)]
    assert {one: column(frame, one) for one in series} == told


@given(st.integers(1, 60), st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_a_block_unpacks_to_what_was_packed(ticks: int, columns: int, rng: random.Random) -> None:
    bits = np.array([[awkward_bits(rng, Kind.COUNTER) for _ in range(columns)] for _ in range(ticks)], np.uint64)
    present = np.array([[rng.random() < 0.7 for _ in range(columns)] for _ in range(ticks)])
    again, mask = unpack(pack(bits, present), ticks, columns)
    assert (mask == present).all()
    assert (again[present] == bits[present]).all()


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b"", lambda b: b"x" + b[1:]])
def test_a_damaged_block_is_noticed(spoil) -> None:  # type: ignore[no-untyped-def]
    whole = pack(np.ones((3, 2), np.uint64), np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="damaged block"):
        unpack(spoil(whole), 3, 2)


def test_keys_have_one_binary_form() -> None:
    key = key_of(zoo="basic", pid="1234", metric="test")
    assert encode_key(key).hex(" ") == bytes.fromhex(
        "a3 66 6d6574726963 64 74657374 63 706964 64 31323334 63 7a6f6f 65 6261736963"
    ).hex(" ")
    assert decode_key(encode_key(key)) == key
    assert encode_key(()) == b"" and decode_key(b"") == ()


@pytest.mark.case("cantal-33")
def test_nothing_older_than_the_window_is_shown_and_what_left_it_is_forgotten() -> None:
    store = Store(INTERVAL, keep_history_ms=120_000)
    early, late = counter(metric="early"), counter(metric="late")
    for tick in range(150):
        put(store, FIRST + tick * INTERVAL, {early: tick} if tick < 10 else {late: tick})
        store.seal_full()
    rule = {"rules": {"q": {"series": {"source": "Fine"}, "extract": ["HistoryByTime", HOUR]}}}
    answer = to_plain(evaluate(parse_document(rule), store.view()), 0, 0)["values"]["q"]["series"]
    assert [one["key"] for one in answer] == [{"metric": "late"}]
    newest, oldest = answer[0]["timestamps"][0], answer[0]["timestamps"][-1]
    assert newest == FIRST + 149 * INTERVAL and newest - oldest == 120_000
    assert len(store.table) == 1


def test_ids_of_forgotten_series_are_used_again_and_nobody_mixes_them_up() -> None:
    store = Store(INTERVAL, keep_history_ms=120_000)
    stays = Columns([counter(metric="stays")])
    for tick in range(400):
        comes = Columns([counter(metric="comes", pid=str(tick // 10))])
        ids = np.concatenate([stays.ids(store.table), comes.ids(store.table)])
        store.append(FIRST + tick * INTERVAL, 1, ids, np.array([tick, 1000 + tick // 10], np.uint64))
        store.seal_full()
    frame = everything(store)
    assert column(frame, counter(metric="stays"))[-1] == 399
    for one in frame.series:
        pid = dict(one.key).get("pid")
        if pid:
            assert {v for v in column(frame, one) if v is not None} <= {1000 + int(pid)}
    assert store.table.capacity < 40


def test_a_view_stays_as_it_was_when_it_was_taken() -> None:
    store, one = Store(INTERVAL, HOUR), counter(metric="m")
    for tick in range(59):
        put(store, FIRST + tick * INTERVAL, {one: tick})
    view = store.view()
    for tick in range(59, 130):
        put(store, FIRST + tick * INTERVAL, {one: tick, **{counter(metric=f"n{i}"): 1 for i in range(tick * 10)}})
    store.seal_full()
    assert len(view.times) == 59
    assert column(view.frame(view.matching(All()), 0, 59), one) == list(range(59))
    assert view.tips(view.matching(All())).bits.tolist() == [58]


def test_a_full_store_refuses_new_series_and_keeps_the_old_ones() -> None:
    store = Store(INTERVAL, HOUR, series_max=2)
    columns = Columns([counter(metric=str(i)) for i in range(3)])
    assert columns.ids(store.table).tolist() == [0, 1, REFUSED]
    assert store.table.refused == 1


def test_breaks_are_remembered_in_sealed_chunks_too() -> None:
    store, one, other = Store(INTERVAL, HOUR), counter(metric="m"), counter(metric="a")
    for tick in range(70):
        put(store, FIRST + tick * INTERVAL, {one: tick, other: tick}, broken=(one,) if tick in (5, 65) else ())
    store.seal_full()
    frame = everything(store)
    marked = [(int(row), frame.series[int(c)]) for row, c in zip(*np.nonzero(frame.breaks), strict=True)]
    assert marked == [(5, one), (65, one)]
    part = store.since(FIRST + 4 * INTERVAL, Eq("metric", "m"))
    assert part.times[0] == FIRST + 5 * INTERVAL
    assert np.flatnonzero(part.breaks[:, 0]).tolist() == [0, 60]


def test_frames_of_two_times_join_by_series() -> None:
    a, b = counter(metric="a"), counter(metric="b")
    ones, zeros = np.ones((2, 1), bool), np.zeros((2, 1), bool)
    older = Frame(np.array([1, 2]), (a,), np.array([[1], [2]], np.uint64), ones, zeros)
    newer = Frame(np.array([2, 3]), (b,), np.array([[20], [30]], np.uint64), ones, zeros)
    both = join(older, newer)
    assert both.times.tolist() == [1, 2, 3]
    assert (column(both, a), column(both, b)) == ([1, None, None], [None, 20, 30])


def test_moving_the_clock_moves_all_ticks_alike() -> None:
    store, one = Store(INTERVAL, HOUR), counter(metric="m")
    for tick in range(70):
        put(store, FIRST + tick * INTERVAL, {one: tick})
    store.states.update([StateSample(key_of(s="1"), 5, "x", FIRST)], FIRST)
    store.shift(-HOUR)
    store.seal_full()
    view = store.view()
    assert view.times.tolist() == [FIRST - HOUR + tick * INTERVAL for tick in range(70)]
    assert view.tips(view.matching(All())).times.tolist() == [FIRST - HOUR + 69 * INTERVAL]
    assert store.states.snapshot()[key_of(s="1")].seen_at == FIRST - HOUR


def test_states_are_dropped_a_minute_after_their_source_was_last_seen() -> None:
    store = Store(INTERVAL, HOUR)
    store.states.update([StateSample(key_of(pid="1"), 5, "reading", FIRST)], FIRST)
    store.states.update([], FIRST + 60_000)
    assert len(store.states) == 1
    store.states.update([], FIRST + 60_001)
    assert len(store.states) == 0


class TestTheStorageDirectory:
    def fill(self, store: Store, first: int, ticks: int) -> None:
        for tick in range(ticks):
            put(store, first + tick * INTERVAL, {counter(metric="hits"): 100 + tick})

    def save(self, directory: Path, store: Store, boot: str = "boot") -> None:
        storage = StorageDirectory(directory, boot)
        store.seal_full()
        storage.save(store)
        storage.close()

    def load(self, directory: Path, now: int, boot: str = "boot") -> Store:
        store = Store(INTERVAL, HOUR)
        storage = StorageDirectory(directory, boot)
        storage.load_into(store, now)
        storage.close()
        return store

    def test_history_and_states_survive_a_restart(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 130)
        store.update_states([StateSample(key_of(pid="1"), 5, "reading", FIRST + 129 * INTERVAL)])
        self.save(tmp_path, store)
        again = self.load(tmp_path, FIRST + 140 * INTERVAL)
        assert column(everything(again), counter(metric="hits")) == list(range(100, 230))
        assert [s.text for s in again.states.snapshot().values()] == ["reading"]

    def test_the_time_away_is_a_gap_and_no_rate_is_absurd(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 10)
        self.save(tmp_path, store)
        again = self.load(tmp_path, FIRST + 100 * INTERVAL)
        self.fill(again, FIRST + 100 * INTERVAL, 3)
        rule = {
            "series": {"source": "Fine"},
            "extract": ["HistoryByNum", 100],
            "functions": [["NonNegativeDerivative"]],
        }
        document = parse_document({"rules": {"q": rule}})
        (one,) = to_plain(evaluate(document, again.view()), 0, 0)["values"]["q"]["series"]
        assert one["values"] == [0.5, 0.5, None, *[0.5] * 9]

    def test_after_a_reboot_nothing_continues(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 10)
        self.save(tmp_path, store, boot="one")
        for boot, broken in (("one", []), ("two", [10])):
            again = self.load(tmp_path, FIRST + 20 * INTERVAL, boot)
            self.fill(again, FIRST + 20 * INTERVAL, 2)
            assert np.flatnonzero(everything(again).breaks).tolist() == broken

    def test_sealed_chunks_are_written_once(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 70)
        store.seal_full()
        storage = StorageDirectory(tmp_path, "boot")
        storage.save(store)
        sealed = tmp_path / "history" / "0001.chunk"
        before = sealed.stat()
        storage.save(store)
        assert sealed.stat().st_mtime_ns == before.st_mtime_ns
        assert sorted(p.name for p in (tmp_path / "history").iterdir()) == ["0001.chunk", "open.chunk"]
        storage.close()

    @pytest.mark.case("cantal-31")
    def test_a_damaged_chunk_is_one_warning_and_the_rest_is_served(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 190)
        self.save(tmp_path, store)
        victim = tmp_path / "history" / "0002.chunk"
        victim.write_bytes(random.Random(1).randbytes(victim.stat().st_size))
        with caplog.at_level(logging.WARNING):
            again = self.load(tmp_path, FIRST + 200 * INTERVAL)
        assert [r.getMessage() for r in caplog.records if "0002.chunk" in r.getMessage()]
        assert len(caplog.records) == 1
        assert column(everything(again), counter(metric="hits")) == [*range(100, 160), *range(220, 290)]
        self.save(tmp_path, again)
        assert not victim.exists()

    def test_every_single_wrong_byte_is_noticed(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 61)
        self.save(tmp_path, store)
        victim = tmp_path / "history" / "0001.chunk"
        whole = victim.read_bytes()
        for place in range(0, len(whole), 7):
            victim.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            assert len(everything(self.load(tmp_path, FIRST + HOUR)).times) <= 1
            (tmp_path / "history" / "0002.chunk").unlink(missing_ok=True)

    def test_what_is_from_the_future_or_too_old_is_not_used(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 61)
        self.save(tmp_path, store)
        assert len(everything(self.load(tmp_path, FIRST - HOUR)).times) == 0
        assert len(everything(self.load(tmp_path, FIRST + 3 * HOUR)).times) == 0

    def test_one_directory_is_for_one_agent(self, tmp_path: Path) -> None:
        storage = StorageDirectory(tmp_path / "a", "boot")
        assert oct((tmp_path / "a").stat().st_mode)[-3:] == "700"
        with pytest.raises(StorageUnusable, match="used by another agent"):
            StorageDirectory(tmp_path / "a", "boot")
        storage.close()
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageUnusable, match="a directory the agent may write to is needed"):
            StorageDirectory(tmp_path / "file", "boot")

    def test_a_full_disk_is_an_error_of_the_status_only(self, tmp_path: Path) -> None:
        store = Store(INTERVAL, HOUR)
        self.fill(store, FIRST, 3)
        storage = StorageDirectory(tmp_path, "boot")
        (tmp_path / "history").rmdir()
        storage.save(store)
        assert storage.error is not None and storage.last_save.time == 0
        (tmp_path / "history").mkdir()
        storage.save(store)
        assert storage.error is None and storage.last_save.timestamp == FIRST + 2 * INTERVAL
        storage.close()


def test_nan_is_not_absent() -> None:
    store, one = Store(INTERVAL, HOUR), Series(key_of(metric="f"), Kind.FLOAT)
    put(store, FIRST, {one: 0x7FF8000000000001})
    assert math.isnan(rows_of(column(everything(store), one)[0] or 0))
