"""All volume types. To add one: write its file, and name it here."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from manor.config.units import UnsupportedTags
from manor.vagga.volumes import interface
from manor.vagga.volumes.bind import BindRO, BindRW
from manor.vagga.volumes.cache_dir import CacheDir
from manor.vagga.volumes.empty import Empty
from manor.vagga.volumes.persistent import Persistent
from manor.vagga.volumes.tmpfs import Tmpfs

VOLUMES: Final[tuple[type[Any], ...]] = (BindRO, BindRW, CacheDir, Empty, Persistent, Tmpfs)

NOT_YET: Final = ("Container", "Snapshot", "VaggaBin")

if TYPE_CHECKING:
    AnyVolume: TypeAlias = interface.Volume
else:
    AnyVolume = Annotated[reduce(or_, VOLUMES), UnsupportedTags(NOT_YET)]
