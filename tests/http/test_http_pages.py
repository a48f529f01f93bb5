from pathlib import Path

import pytest

from manor.http.pages import single_page_application


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>")
    (folder / "assets/index-B3x9Qk2a.js").write_text("1")
    (folder / ".hidden").write_text("x")
    (tmp_path / "secret").write_text("x")
    (folder / "way-out").symlink_to("../secret")
    (folder / "loop").symlink_to("loop")
    return folder


def test_files_are_found_and_every_other_plain_path_is_the_application(folder: Path) -> None:
    find = single_page_application(folder)
    for path in ("/", "/local/metrics", "/remote/", "/assets"):
        page = find(path)
        assert page is not None and page.file.name == "index.html" and page.cache_control == "no-cache", path
    page = find("/assets/index-B3x9Qk2a.js")
    assert page is not None and page.unchanging and "max-age=31536000" in page.cache_control


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/assets/..%2f..%2fsecret", "/.hidden", "/nothing.js", "/index.html%00.js"]
)
def test_what_is_not_there_or_not_inside_is_no_page(folder: Path, path: str) -> None:
    page = single_page_application(folder)(path)
    assert page is None or page.file.name == "index.html"


@pytest.mark.parametrize("path", ["/way-out", "/loop"])
def test_a_link_that_leads_out_is_not_followed(folder: Path, path: str) -> None:
    page = single_page_application(folder)(path)
    assert page is None or page.file.name == "index.html"
