import pytest

from manor.http.access import FailureLimit, check_host, check_origin, is_loopback, login_cookie, token_of
from manor.http.errors import HttpProblem


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.7:8379", "[::1]:22682", "localhost:1", "LOCALHOST", "alpha", "Alpha.example.org:80"]
)
def test_addresses_localhost_and_our_names_are_answered(host: str) -> None:
    check_host(host, {"alpha", "alpha.example.org"})


@pytest.mark.parametrize("host", ["evil.example", "alpha.evil.example:8379", "localhost.evil.example"])
def test_a_foreign_name_rebound_to_our_address_is_refused(host: str) -> None:
    with pytest.raises(HttpProblem, match="is no name of this node") as caught:
        check_host(host, {"alpha"})
    assert caught.value.status == 403


@pytest.mark.parametrize("host", [None, "", "alpha:x", "user@alpha", "alpha/x", "[::1"])
def test_no_usable_host_is_a_bad_request(host: str | None) -> None:
    with pytest.raises(HttpProblem, match="no usable `Host`") as caught:
        check_host(host, {"alpha"})
    assert caught.value.status == 400


def test_our_own_pages_and_programs_without_origin_may_change_things() -> None:
    check_origin("http://alpha:8379", "ALPHA:8379", cookie=True)
    check_origin(None, "alpha:8379", cookie=False)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://alpha", "http://alpha:80800", "null", "", "http://[::1"]
)
def test_a_foreign_page_may_not(origin: str) -> None:
    with pytest.raises(HttpProblem, match="a page of another host"):
        check_origin(origin, "alpha:8379", cookie=False)


def test_a_cookie_alone_speaks_for_nobody() -> None:
    with pytest.raises(HttpProblem, match="needs an `Origin`"):
        check_origin(None, "alpha", cookie=True)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        *[(address, True) for address in ("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1")],
        *[(address, False) for address in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "", "local")],
    ],
)
def test_loopback_is_known_in_all_its_forms(remote: str, expected: bool) -> None:
    assert is_loopback(remote) is expected


def test_the_header_wins_over_the_cookie() -> None:
    cookie = login_cookie("ann.cookie", secure=True).partition(";")[0]
    assert token_of({"Authorization": "Bearer ann.header", "Cookie": cookie}) == ("ann.header", False)
    assert token_of({"Cookie": "theme=dark; " + cookie}) == ("ann.cookie", True)
    assert token_of({"Authorization": "Basic x"}) == (None, False)


def test_the_cookie_is_for_our_pages_alone() -> None:
    assert login_cookie("t", secure=True) == "manor=t; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert login_cookie("", secure=False) == "manor=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"


def test_ten_wrong_credentials_in_a_minute_and_the_address_waits_a_minute() -> None:
    limit = FailureLimit()
    for second in range(9):
        limit.failed("10.0.0.1", now=float(second))
    limit.check("10.0.0.1", now=9.0)
    limit.failed("10.0.0.1", now=9.0)
    limit.check("10.0.0.2", now=9.0)
    with pytest.raises(HttpProblem) as caught:
        limit.check("10.0.0.1", now=68.9)
    assert caught.value.status == 429
    limit.check("10.0.0.1", now=69.0)


def test_wrong_credentials_now_and_then_lock_nobody_out() -> None:
    limit = FailureLimit()
    for time in range(0, 3600, 10):
        limit.failed("10.0.0.1", now=float(time))
        limit.check("10.0.0.1", now=float(time))


def test_a_flood_from_many_addresses_takes_bounded_memory() -> None:
    limit = FailureLimit()
    for number in range(25_000):
        limit.failed(f"address-{number}", now=0.0)
    assert len(limit._failures) <= 10_000
