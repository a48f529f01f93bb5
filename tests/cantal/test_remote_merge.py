"""Frames travel without loss, and several hosts' frames become one on a common grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.cantal.remote import messages
from manor.cantal.remote.merge import HostFrame, labelled, merge
from manor.cantal.remote.messages import BadMessage, Data, Keys
from manor.cantal.remote.ticks import Columns, Received
from manor.cantal.store.frame import Frame
from manor.cantal.store.keys import key_of
from manor.cantal.store.series import Kind, Series


def _frame(times: list[int], rows: list[list[int | None]], names: str = "ab") -> Frame:
    present = np.array([[value is not None for value in row] for row in rows], bool).reshape(len(times), len(names))
    bits = np.array([[value or 0 for value in row] for row in rows], np.uint64).reshape(len(times), len(names))
    series = tuple(Series(key_of(metric=name), Kind.COUNTER) for name in names)
    return Frame(np.array(times, np.int64), series, bits, present, np.zeros_like(present))


def _values(frame: Frame) -> dict[str, list[int | None]]:
    return {
        str(dict(series.key)): [
            int(bits) if here else None
            for bits, here in zip(frame.bits[:, column], frame.present[:, column], strict=True)
        ]
        for column, series in enumerate(frame.series)
        if frame.present[:, column].any()
    }


def _send(columns: Columns, received: Received, frame: Frame) -> None:
    for message in columns.messages(frame, complete=True):
        over_the_wire = messages.decode(messages.encode(message))
        assert over_the_wire == message
        if isinstance(over_the_wire, Keys):
            received.name(over_the_wire)
        else:
            assert isinstance(over_the_wire, Data)
            received.add(over_the_wire)


samples = st.none() | st.integers(0, 2**64 - 1)


@given(
    rows=st.lists(st.lists(samples, min_size=3, max_size=3), min_size=1, max_size=40), cuts=st.sets(st.integers(1, 39))
)
@settings(deadline=None)
def test_what_was_sent_in_pieces_arrives_as_one(rows: list[list[int | None]], cuts: set[int]) -> None:
    whole = _frame([1000 * (i + 1) for i in range(len(rows))], rows, "abc")
    columns, received = Columns(1), Received(keep=40)
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    for start, end in itertools.pairwise(edges):
        _send(columns, received, whole.ticks(start, end))
    assert received.complete
    frame = received.frame()
    assert frame.times.tolist() == whole.times.tolist()
    assert _values(frame) == _values(whole)


def test_only_the_newest_ticks_are_kept_however_long_it_goes_on() -> None:
    columns, received = Columns(1), Received(keep=5)
    for tick in range(1, 100):
        _send(columns, received, _frame([tick], [[tick, None]]))
    frame = received.frame()
    assert frame.times.tolist() == [95, 96, 97, 98, 99]
    assert _values(frame) == {"{'metric': 'a'}": [95, 96, 97, 98, 99]}


def test_after_a_new_connection_the_same_series_go_on() -> None:
    received = Received(keep=10)
    _send(Columns(1), received, _frame([1000, 2000], [[1, 10], [2, 20]], "ab"))
    received.connect_again()
    assert not received.complete
    _send(Columns(1), received, _frame([2000, 3000, 4000], [[20, 2], [30, 3], [40, 4]], "ba"))
    assert received.frame().times.tolist() == [1000, 2000, 3000, 4000]
    assert _values(received.frame()) == {"{'metric': 'a'}": [1, 2, 3, 4], "{'metric': 'b'}": [10, 20, 30, 40]}


@pytest.mark.parametrize(
    "message",
    [
        Data(1, b"1234567", b"", False, b"", b"", b"", True),
        Data(1, bytes(8), b"\x05\0\0\0", False, bytes(8), b"", b"", True),
        Data(1, bytes(8), None, False, bytes(8), b"", b"", True),
        Data(1, bytes(8), b"", True, b"garbage", b"", b"", True),
    ],
)
def test_nonsense_of_a_member_is_its_error_and_not_ours(message: Data) -> None:
    with pytest.raises(BadMessage):
        Received(keep=5).add(message)


@given(noise=st.binary(max_size=100))
def test_noise_is_no_message(noise: bytes) -> None:
    with pytest.raises(BadMessage):
        messages.decode(noise)


def test_hosts_are_labelled_and_their_ticks_aligned() -> None:
    one = HostFrame("aa", 2000, 0, _frame([2000, 4000], [[1, 2], [3, 4]]))
    two = HostFrame("bb", 2000, 0, _frame([4000, 6000], [[5, None], [7, None]]))
    frame, interval = merge([one, two])
    assert interval == 2000
    assert frame.times.tolist() == [2000, 4000, 6000]
    assert _values(frame) == {
        "{'host': 'aa', 'metric': 'a'}": [1, 3, None],
        "{'host': 'aa', 'metric': 'b'}": [2, 4, None],
        "{'host': 'bb', 'metric': 'a'}": [None, 5, 7],
    }


def test_a_host_with_shorter_ticks_gives_the_last_of_each_step() -> None:
    slow = HostFrame("aa", 2000, 0, _frame([2000, 4000], [[1], [2]], "a"))
    fast = HostFrame("bb", 500, 0, _frame([2000, 2500, 3000, 3500, 4000], [[1], [2], [3], [None], [5]], "a"))
    frame, interval = merge([slow, fast])
    assert interval == 2000
    assert _values(frame)["{'host': 'bb', 'metric': 'a'}"] == [3, 5]


def test_a_clock_far_off_is_corrected_and_one_a_little_off_is_not() -> None:
    right = HostFrame("aa", 2000, 0, _frame([10_000, 12_000], [[1], [2]], "a"))
    far = HostFrame("bb", 2000, 60_000, _frame([70_000, 72_000], [[3], [4]], "a"))
    near = HostFrame("cc", 2000, 1_500, _frame([10_000, 12_000], [[5], [6]], "a"))
    frame, _ = merge([right, far, near])
    assert frame.times.tolist() == [10_000, 12_000]


def test_a_pair_called_host_is_not_lost() -> None:
    assert dict(labelled(key_of(host="web"), "aa")) == {"exported_host": "web", "host": "aa"}
