"""Version hashes: what changes them and what does not, and how fields are kept apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.config.dialect import VAGGA
from manor.config.loader import load
from manor.vagga.digests import DigestCache
from manor.vagga.errors import PreparationError, UnknownVersion
from manor.vagga.hasher import Hasher
from manor.vagga.merging import Config
from manor.vagga.requirements import expanded_lines
from manor.vagga.version import Versions
from manor.vagga.versioned import VersionedFiles

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(a=values, b=values)
def test_different_values_never_have_the_same_bytes(a: object, b: object) -> None:
    def encoded(value: object) -> bytes:
        return Hasher(value).encoded  # type: ignore[arg-type]

    def kind(value: object) -> object:  # True is 1 in Python, not in a recipe
        if isinstance(value, dict):
            return {key: kind(item) for key, item in value.items()}
        return [kind(item) for item in value] if isinstance(value, list) else (type(value), value)

    assert (encoded(a) == encoded(b)) == (kind(a) == kind(b))


def version(root: Path, text: str, name: str = "c") -> str:
    config = load(text.encode(), "vagga.yaml", Config, VAGGA).value
    files = VersionedFiles(root, DigestCache(None), lambda status: (0, 0))
    return Versions(config.containers, files, None).version(name)


BASE = """
containers:
  c:
    setup:
    - !Text { /a: one, /b: two }
    - !Copy { source: /work/src, path: /src }
    - !Depends listed
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/file").write_text("content")
    (tmp_path / "src/link").symlink_to("file")
    (tmp_path / "listed").write_text("listed")
    return tmp_path


def test_layout_comments_order_and_runtime_options_do_not_change_a_version(root: Path) -> None:
    before = version(root, BASE)
    assert len(before) == 128
    same = """
    # a comment
    containers:
      other: { setup: [!Sh "true"] }
      c:
        environ: { A: b }
        auto-clean: true
        volumes: { /v: !Tmpfs {} }
        default-shell: [/bin/bash, -c, $cmdline]
        setup:
        - !Text
          /b: two
          /a: one
        - !Copy { path: /src, source: /work/src }
        - !Depends { path: listed }
    """
    assert version(root, same) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("one", "One"),
        ("/a:", "/aa:"),
        ("path: /src", "path: /srv"),
        ("listed", "src"),
        ("setup:", "uids: [0]\n    setup:"),
        ("/src }", "/src, umask: 0o077 }"),
        ("/src }", "/src, owner-uid: 1 }"),
        ("/src }", "/src, preserve-times: true }"),
        ("- !Depends", "- !Sh 'true'\n    - !Depends"),
    ],
)
def test_every_field_of_a_step_counts(root: Path, old: str, new: str) -> None:
    assert old in BASE
    assert version(root, BASE.replace(old, new)) != version(root, BASE)


@pytest.mark.case("vagga-15")
@pytest.mark.parametrize("setup", ["- !Copy { source: /work/src, path: /src }", "- !Depends src"])
def test_content_execute_bit_link_target_and_names_count_but_write_bits_and_times_do_not(
    root: Path, setup: str
) -> None:
    text = f"containers:\n  c:\n    setup:\n    {setup}\n"
    file, link = root / "src/file", root / "src/link"
    seen = [version(root, text)]

    def expect(*, changed: bool) -> None:
        now = version(root, text)
        assert (now not in seen) is changed
        seen.append(now)

    file.chmod(0o600)
    expect(changed=False)
    file.chmod(0o666)
    expect(changed=False)
    os.utime(file, (1, 1))
    expect(changed=False)
    file.chmod(0o700)
    expect(changed=True)
    file.write_text("other content")
    expect(changed=True)
    link.unlink()
    link.symlink_to("elsewhere")
    expect(changed=True)
    file.rename(root / "src/renamed")
    expect(changed=True)


@pytest.mark.case("vagga-16")
def test_a_file_replaced_by_one_of_equal_size_and_time_is_noticed(root: Path) -> None:
    cache_file = root / "cache"
    target = root / "listed"
    os.utime(target, (1, 1))

    def digest() -> bytes:
        cache = DigestCache(cache_file)
        found = cache.digest(target, target.lstat())
        cache.save()
        return found

    first = digest()
    other = root / "other"
    other.write_text("LISTED")
    os.utime(other, (1, 1))
    other.replace(target)
    assert digest() != first
    target.write_text("listed")  # in place: same inode, same size, and the time set back
    os.utime(target, (1, 1))
    assert digest() == first


def test_a_damaged_digest_cache_is_ignored(root: Path) -> None:
    (root / "cache").write_bytes(b"\xff nonsense")
    target = root / "listed"
    assert DigestCache(root / "cache").digest(target, target.lstat()) == DigestCache(None).digest(
        target, target.lstat()
    )


def test_a_missing_file_leaves_the_version_unknown_and_is_named(root: Path) -> None:
    (root / "listed").unlink()
    with pytest.raises(UnknownVersion, match="`listed`"):
        version(root, BASE)


def test_a_change_below_reaches_everything_built_on_it(root: Path) -> None:
    text = BASE + "  d: { setup: [!Container c] }\n  e: { setup: [!Build {container: d, path: /x}] }\n"
    before = version(root, text, "e")
    (root / "src/file").write_text("changed")
    assert version(root, text, "e") != before


@pytest.mark.case("vagga-32")
def test_equal_selections_give_equal_versions_whichever_options_made_them(root: Path) -> None:
    (root / "src/subdir").mkdir()
    (root / "src/subdir/file").write_text("1")
    (root / "src/hello").write_text("2")
    text = "containers:\n  c:\n    setup:\n    - !Copy {{ source: /work/src, path: /src, {} }}\n"
    first = version(root, text.format("include-regex: '(^hello|(^|.*/)file)$'"))
    assert version(root, text.format("include-regex: '(^hello|subdir|(^|.*/)file)$'")) == first
    assert version(root, text.format("rules: [/hello, /file, /subdir/file]")) == first


def test_nested_requirements_are_expanded_in_place() -> None:
    files = {
        "requirements.txt": "a==1\n# comment\n\n-r more/extra.txt\n b==2 \n",
        "more/extra.txt": "c==3\n--constraint=limits.txt\n",
        "more/limits.txt": "d<4\n",
        "circle.txt": "-r circle.txt\n",
    }
    assert expanded_lines("requirements.txt", files.__getitem__) == ["a==1", "c==3", "d<4", "b==2"]
    with pytest.raises(PreparationError, match=r"circle\.txt -> circle\.txt"):
        expanded_lines("circle.txt", files.__getitem__)
