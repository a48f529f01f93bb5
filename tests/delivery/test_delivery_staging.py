"""The receiving side alone: a copy in place of the transport."""

import json
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from manor.config.loader import ConfigError
from manor.delivery.configs import ConfigStore
from manor.delivery.errors import BadUsage, Corrupt, ImageMalformed, NameTaken, NoSpace
from manor.delivery.index import build_index
from manor.delivery.messages import Announce, Announced, Commit
from manor.delivery.staging import STAGING_KEPT_S, Receiver


class Node:
    """A receiver with its directories, and a pusher that copies."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.now = 1_000_000.0
        self.state = folder / "state"
        self.receiver = self.restarted()

    def restarted(self) -> Receiver:
        return Receiver({"site": self.images}.get, self.state, now=lambda: self.now)

    def announce(self, image: Path, name: str, **changes: object) -> Announced:
        index = build_index(image)
        fields = {"sandbox": "site", "name": name, "id": index.id, "size": index.size, "files": index.files}
        return self.receiver.announce(Announce(**(fields | changes)))  # type: ignore[arg-type]

    def send(self, image: Path, name: str) -> Path:
        answer = self.announce(image, name)
        assert answer.state == "wanted" and answer.staging is not None
        for path in sorted(image.rglob("*")):
            target = Path(answer.staging) / path.relative_to(image)
            if path.is_dir() and not path.is_symlink():
                target.mkdir(exist_ok=True)
            elif not target.exists():
                shutil.copy2(path, target, follow_symlinks=False)
        return Path(answer.staging)

    def commit(self, image: Path, name: str) -> None:
        self.receiver.commit(Commit(sandbox="site", name=name, id=build_index(image).id))

    def deliver(self, image: Path, name: str) -> Path:
        self.send(image, name)
        self.commit(image, name)
        return self.images / name


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def make_image(root: Path, **files: str) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/run").write_text("#!/bin/sh\n")
    (root / "bin/run").chmod(0o4711)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "link").symlink_to("bin/run")
    for name, content in files.items():
        (root / name).write_text(content)
    return root


def test_a_delivered_image_is_whole_and_in_the_normal_form(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    if os.geteuid() == 0:
        os.chown(image / "secret", 33, 33)
    place = node.deliver(image, "app.1")
    assert build_index(place).id == build_index(image).id
    for path, mode in {".": 0o755, "bin": 0o755, "bin/run": 0o755, "secret": 0o644}.items():
        status = os.lstat(place / path)
        assert stat.S_IMODE(status.st_mode) == mode, path
        assert (status.st_mtime, status.st_uid) == (1, os.geteuid()), path
    assert os.lstat(place / "link").st_mtime == 1
    assert sorted(os.listdir(node.images)) == ["app.1"]
    record = json.loads((node.state / "images/site/app.1.json").read_text())
    assert (record["id"], record["size"], record["time"]) == (build_index(image).id, 11, 1_000_000_000)
    assert node.receiver.images("site") == ["app.1"]


def test_the_name_appears_only_with_the_last_step_and_until_then_nobody_can_look(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    staging = node.send(image, "app.1")
    assert staging == node.images / f".tmp.app.1.{build_index(image).id[:8]}"
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700
    assert not (node.images / "app.1").exists()


def test_the_same_again_is_success_and_other_contents_are_refused(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    place = node.deliver(image, "app.1")
    assert node.announce(image, "app.1").state == "have"
    node.commit(image, "app.1")
    other = make_image(tmp_path / "other", more="1")
    with pytest.raises(NameTaken, match=r"site/app\.1 exists with other contents"):
        node.announce(other, "app.1")
    assert not (place / "more").exists()
    assert sorted(os.listdir(node.images)) == ["app.1"]


@pytest.mark.parametrize("index_known", [False, True])
def test_a_flipped_bit_is_noticed_and_named_and_the_rest_is_used_for_the_next_try(
    node: Node, tmp_path: Path, index_known: bool
) -> None:
    image = make_image(tmp_path / "image", data="good")
    index = build_index(image)
    if index_known:
        node.receiver.put_index(index.id, index.to_bytes())
    staging = node.send(image, "app.1")
    (staging / "data").write_text("goof")
    with pytest.raises(Corrupt, match="data: other contents than announced" if index_known else "it has the id"):
        node.commit(image, "app.1")
    assert not (node.images / "app.1").exists()
    assert node.receiver.progress()["site", "app.1"].state == "failed"
    (staging / "data").write_text("good")
    node.commit(image, "app.1")
    assert (node.images / "app.1/data").read_text() == "good"


def test_what_no_image_has_is_refused_on_arrival_too(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    os.mkfifo(node.send(image, "app.1") / "pipe")
    with pytest.raises(ImageMalformed, match="pipe: only regular files"):
        node.commit(image, "app.1")
    assert not (node.images / "app.1").exists()


def test_files_that_an_earlier_image_has_are_hard_linked_wherever_they_are(node: Node, tmp_path: Path) -> None:
    first = node.deliver(make_image(tmp_path / "one", a="same", b="old"), "app.1")
    before = {path: os.lstat(first / path) for path in ("a", "b", "secret", "bin/run")}
    second_image = make_image(tmp_path / "two", moved="same", b="new")
    index = build_index(second_image)
    node.receiver.put_index(index.id, index.to_bytes())
    answer = node.announce(second_image, "app.2")
    assert answer.index_known and answer.link_dest == str(first)
    second = node.deliver(second_image, "app.2")
    assert os.lstat(second / "moved").st_ino == before["a"].st_ino
    assert os.lstat(second / "bin/run").st_ino == before["bin/run"].st_ino
    assert os.lstat(second / "b").st_ino != before["b"].st_ino
    for path, status in before.items():
        now = os.lstat(first / path)
        assert (now.st_mode, now.st_mtime, now.st_ino) == (status.st_mode, status.st_mtime, status.st_ino)
    assert (first / "b").read_text() == "old"


def test_a_linked_file_of_another_form_is_replaced_by_a_copy_and_its_other_name_is_left_alone(
    node: Node, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "image", data="x")
    staging = node.send(image, "app.1")
    foreign = tmp_path / "node/foreign"
    foreign.write_text("x")
    foreign.chmod(0o640)
    (staging / "data").unlink()
    os.link(foreign, staging / "data")
    node.commit(image, "app.1")
    assert stat.S_IMODE(foreign.stat().st_mode) == 0o640
    assert stat.S_IMODE((node.images / "app.1/data").stat().st_mode) == 0o644


def test_a_whole_image_without_a_record_is_adopted_after_verification(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    node.deliver(image, "app.1")
    shutil.rmtree(node.state)
    node.receiver = node.restarted()
    assert node.announce(image, "app.1").state == "have"
    assert node.receiver.images("site") == ["app.1"]
    shutil.rmtree(node.state)
    (node.images / "app.1/secret").write_text("changed")
    with pytest.raises(NameTaken):
        node.announce(image, "app.1")


def test_a_broken_record_counts_as_none(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    node.deliver(image, "app.1")
    (node.state / "images/site/app.1.json").write_text('{"name": "ap')
    assert node.announce(image, "app.1").state == "have"
    assert node.receiver.records.find("site", "app.1") is not None


@pytest.mark.parametrize("name", ["../x", ".tmp.x", "a/b", "", "a b", "x" * 129, "-x"])
def test_a_name_that_is_none_is_refused(node: Node, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadUsage, match=r"is no image name|components"):
        node.announce(make_image(tmp_path / "image"), name)
    assert os.listdir(node.images) == []


def test_unknown_sandboxes_bad_ids_and_commits_out_of_the_blue_are_refused(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    with pytest.raises(BadUsage, match="has no sandbox `other`"):
        node.announce(image, "app.1", sandbox="other")
    with pytest.raises(BadUsage, match="is no sandbox name"):
        node.announce(image, "app.1", sandbox="../site")
    with pytest.raises(BadUsage, match="is no id"):
        node.announce(image, "app.1", id="../../etc")
    with pytest.raises(BadUsage, match="was not announced here"):
        node.commit(image, "app.1")


def test_an_image_that_would_not_fit_is_refused_before_a_byte_is_sent(node: Node, tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="bytes are free below"):
        node.announce(make_image(tmp_path / "image"), "app.1", size=2**60)
    assert os.listdir(node.images) == []


def test_names_of_several_components_lie_in_directories(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    node.receiver = Receiver({"site": node.images}.get, node.state, image_levels=lambda sandbox: 2)
    image = make_image(tmp_path / "image")
    assert node.send(image, "team/app.1").name.startswith(".tmp.team+app.1.")
    node.commit(image, "team/app.1")
    assert (node.images / "team/app.1/secret").exists()
    assert node.receiver.images("site") == ["team/app.1"]


def test_what_failed_attempts_left_goes_after_a_day(node: Node, tmp_path: Path) -> None:
    staging = node.send(make_image(tmp_path / "image"), "app.1")
    node.now = staging.stat().st_mtime + STAGING_KEPT_S - 1
    node.receiver.sweep(["site", "unknown"])
    assert staging.exists()
    node.now += 2
    node.receiver.sweep(["site", "unknown"])
    assert not staging.exists()


def test_progress_is_the_share_of_bytes_that_is_here(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", half="x" * 11)
    index = build_index(image)
    node.receiver.put_index(index.id, index.to_bytes())
    answer = node.announce(image, "app.1")
    assert node.receiver.incoming("site") == {"app.1": 0.0}
    assert answer.staging is not None
    shutil.copy(image / "half", answer.staging)
    assert node.receiver.incoming("site") == {"app.1": 0.5}


def test_many_commits_at_once_make_one_image(node: Node, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", **{f"f{n}": "x" * n for n in range(200)})
    node.send(image, "app.1")
    problems: list[BaseException] = []

    def commit() -> None:
        try:
            node.commit(image, "app.1")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=commit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(os.listdir(node.images)) == ["app.1"]


def test_runtime_metadata_is_a_link_into_the_store_and_never_replaced(tmp_path: Path) -> None:
    store = ConfigStore(tmp_path)
    id_ = store.put_runtime("site", "v1.2", b"daemons: {web: {image: app.1}}\n")
    visible = tmp_path / "runtime/site/v1.2.yaml"
    assert visible.is_symlink() and visible.resolve() == tmp_path / ".store" / id_ / "v1.2.yaml"
    assert visible.read_text() == "daemons: {web: {image: app.1}}\n"
    assert id_ == build_index(tmp_path / ".store" / id_).id
    assert store.put_runtime("site", "v1.2", b"daemons: {web: {image: app.1}}\n") == id_
    with pytest.raises(NameTaken, match=r"site/v1\.2 exists with other metadata"):
        store.put_runtime("site", "v1.2", b"daemons: {}\n")
    assert os.listdir(tmp_path / "runtime/site") == ["v1.2.yaml"]


@pytest.mark.parametrize(
    ("role", "version", "text", "error", "message"),
    [
        ("../x", "v1", b"{}", BadUsage, "is no role name"),
        ("site", "../v1", b"{}", BadUsage, "is no version"),
        ("site", "1.2", b"{}", BadUsage, "`v` and a digit first"),
        ("site", "v1", b"[1]", BadUsage, "site/v1.yaml:1:1: metadata of a version is a mapping"),
        ("site", "v1", b"a: {", ConfigError, "site/v1.yaml:"),
    ],
)
def test_bad_metadata_is_refused_and_leaves_nothing(
    tmp_path: Path, role: str, version: str, text: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ConfigStore(tmp_path).put_runtime(role, version, text)
    assert list(tmp_path.iterdir()) == []
