"""What was delivered to this node: one small file an image, and the indexes they have.

STATE_DIR/images/SANDBOX/NAME.json    a Record; `/` in NAME is written `+`
STATE_DIR/index/ID.ds1                an index, of an image here or on its way
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from manor.delivery.durable import write_file
from manor.delivery.errors import ImageMalformed
from manor.delivery.index import Index, parse_index
from manor.delivery.messages import Record
from manor.delivery.names import flat

log = logging.getLogger(__name__)


class Records:
    """The files below one state directory. Small and rarely asked, so they are read each time."""

    def __init__(self, state_dir: Path) -> None:
        self._images = state_dir / "images"
        self._indexes = state_dir / "index"

    def find(self, sandbox: str, name: str) -> Record | None:
        """A record that cannot be read counts as none: the image is then verified again and recorded anew."""
        path = self._path(sandbox, name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("delivery.bad_record path=%s error=%s", path, error)
            return None

    def newest_first(self, sandbox: str) -> list[Record]:
        try:
            paths = sorted((self._images / sandbox).glob("*.json"))
        except OSError:
            return []
        found = [self.find(sandbox, path.name.removesuffix(".json")) for path in paths]
        return sorted((record for record in found if record is not None), key=lambda r: (-r.time, r.name))

    def write(self, sandbox: str, record: Record) -> None:
        write_file(self._path(sandbox, record.name), msgspec.json.encode(record))

    def has_index(self, id_: str) -> bool:
        return self._index_path(id_).is_file()

    def index(self, id_: str) -> Index | None:
        try:
            return parse_index(self._index_path(id_).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ImageMalformed) as error:
            log.warning("delivery.bad_index id=%s error=%s", id_, error)
            return None

    def index_bytes(self, id_: str) -> bytes | None:
        try:
            return self._index_path(id_).read_bytes()
        except FileNotFoundError:
            return None

    def write_index(self, index: Index) -> None:
        if not self.has_index(index.id):
            write_file(self._index_path(index.id), index.to_bytes())

    def sandboxes(self) -> list[str]:
        return sorted(os.listdir(self._images)) if self._images.is_dir() else []

    def _path(self, sandbox: str, name: str) -> Path:
        return self._images / sandbox / f"{flat(name)}.json"

    def _index_path(self, id_: str) -> Path:
        return self._indexes / f"{id_}.ds1"
