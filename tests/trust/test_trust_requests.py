import pytest

from manor.trust.errors import BadSignature
from manor.trust.keys import ClusterKeys
from manor.trust.requests import RequestVerifier, sign

KEYS = ClusterKeys.parse("07" * 32, "k").purpose("node-report")
NOW = 1_773_480_000.0
REPORT = {"method": "POST", "path": "/v1/node_report?x=1", "body": b'{"id": "77"}'}


def signed(now: float = NOW) -> str:
    return sign(KEYS, **REPORT, node_id="77985419", now=now)


def test_a_signed_request_names_its_node() -> None:
    assert RequestVerifier(KEYS).verify(signed(), **REPORT, now=NOW + 1) == "77985419"


def test_the_form_is_fixed() -> None:
    value = sign(KEYS, **REPORT, node_id="77985419", now=NOW, nonce=bytes(range(16)))
    assert value == (
        "Manor 1773480000000:000102030405060708090a0b0c0d0e0f:77985419:"
        "315f5b8e17459ccbcf1684c0737a25c404afc27315eb6bccd5212a6c16493419"
    )


@pytest.mark.parametrize(
    "changed",
    [{"method": "PUT"}, {"path": "/v1/node_report?x=2"}, {"body": b'{"id": "78"}'}],
    ids=["method", "path", "body"],
)
def test_what_was_changed_on_the_way_does_not_verify(changed: dict[str, object]) -> None:
    with pytest.raises(BadSignature, match="wrong signature"):
        RequestVerifier(KEYS).verify(signed(), **(REPORT | changed), now=NOW)


@pytest.mark.parametrize("part", range(3))
def test_time_nonce_and_id_are_signed_too(part: int) -> None:
    parts = signed().removeprefix("Manor ").split(":")
    parts[part] = ("1" if parts[part][0] != "1" else "2") + parts[part][1:]
    with pytest.raises(BadSignature, match="wrong signature"):
        RequestVerifier(KEYS).verify("Manor " + ":".join(parts), **REPORT, now=NOW)


def test_a_request_is_good_once() -> None:
    verifier, request = RequestVerifier(KEYS), signed()
    verifier.verify(request, **REPORT, now=NOW)
    for later_s in (0.0, 30.0, 59.9):
        with pytest.raises(BadSignature, match="came before"):
            verifier.verify(request, **REPORT, now=NOW + later_s)


@pytest.mark.parametrize("now", [NOW - 61, NOW + 61])
def test_a_request_is_good_for_a_minute_around_its_time(now: float) -> None:
    with pytest.raises(BadSignature, match="61 s from now by our clock; at most 60 s pass"):
        RequestVerifier(KEYS).verify(signed(), **REPORT, now=now)


def test_a_clock_set_back_does_not_make_an_old_request_new() -> None:
    verifier, request = RequestVerifier(KEYS), signed()
    verifier.verify(request, **REPORT, now=NOW)
    verifier.verify(signed(NOW + 100), **REPORT, now=NOW + 100)  # the first nonce is forgotten here
    with pytest.raises(BadSignature, match="came before"):
        verifier.verify(request, **REPORT, now=NOW)


def test_nothing_is_remembered_for_longer_than_needed_nor_for_strangers() -> None:
    verifier = RequestVerifier(KEYS)
    stranger = ClusterKeys.parse("08" * 32, "k").purpose("node-report")
    for second in range(300):
        verifier.verify(signed(NOW + second), **REPORT, now=NOW + second)
        with pytest.raises(BadSignature):
            verifier.verify(sign(stranger, **REPORT, node_id="x", now=NOW), **REPORT, now=NOW + second)
    assert len(verifier._seen) <= 61


@pytest.mark.parametrize("header", ["", "Manor", "Bearer abc", "Manor 1:2:3:4", "Manor " + "9" * 5000])
def test_nonsense_is_refused_without_trying(header: str) -> None:
    with pytest.raises(BadSignature, match="not a signed request"):
        RequestVerifier(KEYS).verify(header, **REPORT, now=NOW)
