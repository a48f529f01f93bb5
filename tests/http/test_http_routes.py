import pytest

from manor.http.formats import Format
from manor.http.routes import Route, RouteTable, Suffixes, allowed_methods

FORMATS = (Format.JSON, Format.GRON)


def table(*patterns: str) -> RouteTable:
    routes = RouteTable()
    for pattern in patterns:
        routes.add(Route("GET", pattern, lambda request: None))
    return routes


def find(
    routes: RouteTable, path: str, suffixes: Suffixes = Suffixes.NOT_FOUND
) -> tuple[str, dict[str, str], Format] | None:
    found = routes.find(path, FORMATS, suffixes)
    return None if found is None else (found.routes["GET"].pattern, dict(found.parameters), found.format)


def test_literal_paths_come_before_parameters_whatever_the_order() -> None:
    routes = table("/v1/{name}", "/v1/{rest*}", "/v1/status", "/v1/{name}/x")
    assert find(routes, "/v1/status") == ("/v1/status", {}, Format.JSON)
    assert find(routes, "/v1/other") == ("/v1/{name}", {"name": "other"}, Format.JSON)
    assert find(routes, "/v1/other/x") == ("/v1/{name}/x", {"name": "other"}, Format.JSON)
    assert find(routes, "/v1/other/y/z") == ("/v1/{rest*}", {"rest": "other/y/z"}, Format.JSON)


def test_a_format_suffix_is_no_part_of_a_parameter_but_another_suffix_is() -> None:
    routes = table("/v1/delivery/status/{sandbox}/{name*}")
    assert find(routes, "/v1/delivery/status/site/site.45f2") == (
        "/v1/delivery/status/{sandbox}/{name*}",
        {"sandbox": "site", "name": "site.45f2"},
        Format.JSON,
    )
    assert find(routes, "/v1/delivery/status/site/site.45f2.gron") == (
        "/v1/delivery/status/{sandbox}/{name*}",
        {"sandbox": "site", "name": "site.45f2"},
        Format.GRON,
    )


def test_another_suffix_of_a_known_path_is_not_found_or_json_as_the_agent_wants() -> None:
    assert find(table("/status"), "/status.xml") is None
    assert find(table("/status"), "/status.xml", Suffixes.JSON) == ("/status", {}, Format.JSON)


def test_a_trailing_slash_is_another_path() -> None:
    assert find(table("/status"), "/status/") is None


@pytest.mark.parametrize("path", ["/files/a%2Fb", "/files/%2e%2e", "/files/../x", "/files/a%00b", "/files/"])
def test_what_could_lead_elsewhere_is_no_path(path: str) -> None:
    assert find(table("/files/{name}", "/files/{rest*}"), path) is None


def test_components_are_decoded_once() -> None:
    assert find(table("/{name}"), "/a%2520b%20c") == ("/{name}", {"name": "a%20b c"}, Format.JSON)


def test_two_routes_of_one_method_and_pattern_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="GET /x is here already"):
        table("/x", "/x")


def test_whoever_may_get_may_head() -> None:
    assert allowed_methods(["POST", "GET"]) == "GET, HEAD, POST"
    assert allowed_methods(["PUT"]) == "PUT"
