"""Settings: what is about a person, machine or CI system and not about the content of an image.

Read from the user's files, the environment, the project's files; what comes later overrides option by option. A
project's file can come with a cloned repository, so it may hold only options that reach nothing outside of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from manor.config.units import Check, Range
from manor.vagga.errors import ConfigurationError

USER_FILES: Final = (".config/vagga/settings.yaml", ".vagga/settings.yaml", ".vagga.yaml")
PROJECT_FILES: Final = (".vagga.settings.yaml", ".vagga/settings.yaml")
VARIABLE: Final = "VAGGA_SETTINGS"

OptionPath: TypeAlias = tuple[str | int, ...]


def _home_or_absolute(value: str) -> str | None:
    if value.startswith(("/", "~/")):
        return None
    return f"the path `{value}` is relative; begin with `/` or `~/`"


def _url(value: str) -> str | None:
    return None if value.startswith(("http://", "https://")) else f"`{value}` is no address; begin with https://"


HostPath: TypeAlias = Annotated[str, Check(_home_or_absolute)]
Url: TypeAlias = Annotated[str, Check(_url)]


def _program(value: str) -> str | None:
    return None if value in ("auto", "runc", "crun") or value.startswith("/") else f"`{value}` is no absolute path"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One source's settings; None is "not said here"."""

    unsupported: ClassVar[tuple[str, ...]] = (
        "storage-dir", "storage-subdir-from-env-var", "push-image-script", "auto-apply-sysctl",
        "hard-link-between-projects", "test-network", "layers-max-size", "build-jobs", "run-symlinks-as-commands",
        "index-all-images", "hard-link-identical-files", "ubuntu-mirror", "ubuntu-base-url", "alpine-mirror", "ppa-url",
        "keyserver", "registry-mirrors", "npm-registry", "gem-source", "composer-url", "composer-repository",
        "url-rewrite",
    )  # fmt: skip

    cache_dir: HostPath | None = None
    shared_cache: bool | None = None
    site_settings: dict[HostPath, Settings] = {}
    external_volumes: dict[str, HostPath] = {}
    proxy_env_vars: bool | None = None
    propagate_environ: tuple[str, ...] = ()
    oci_runtime: Annotated[str, Check(_program)] | None = None
    container_init: Annotated[str, Check(_program)] | None = None
    uv_path: Annotated[str, Check(_program)] | None = None
    ca_bundle: HostPath | None = None
    version_check: bool | None = None
    environ: dict[str, str] = {}
    build_lock_wait: bool | None = None
    disable_auto_clean: bool | None = None
    flatten: Literal["auto", "hardlink", "copy"] | None = None
    source_date_epoch: Annotated[int, Range(0)] | None = None
    debian_mirror: Url | None = None
    debian_security_mirror: Url | None = None
    pypi_index: Url | None = None
    ubuntu_skip_locking: bool | None = None
    versioned_build_dir: bool | None = None


IN_PROJECTS: Final = frozenset(
    {
        "shared_cache", "version_check", "environ", "build_lock_wait", "disable_auto_clean", "flatten",
        "source_date_epoch", "debian_mirror", "debian_security_mirror", "pypi_index", "ubuntu_skip_locking",
        "versioned_build_dir",
    }
)  # fmt: skip


class ProjectSettings(Settings, frozen=True, kw_only=True):
    """A settings file of a project."""

    def __problems__(self) -> Iterator[tuple[OptionPath, str]]:
        for name in said(self):
            if name not in IN_PROJECTS:
                option = name.replace("_", "-")
                yield (name,), f"`{option}` is not allowed in a project; put it into the settings of the user"


def said(settings: Settings) -> dict[str, Any]:
    """The options this source gives."""
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value not in (None, {}, ())}


def merged(sources: Iterable[Settings]) -> Settings:
    """All sources as one, later ones over earlier ones; mappings key by key, lists item by item."""
    total: dict[str, Any] = {}
    for source in sources:
        for name, value in said(source).items():
            old = total.get(name)
            if isinstance(value, dict) and old:
                total[name] = {**old, **value}
            elif isinstance(value, tuple) and old:
                total[name] = (*old, *(item for item in value if item not in old))
            else:
                total[name] = value
    return Settings(**total)


def with_site_settings(source: Settings, root: Path, home: str) -> list[Settings]:
    """A user's settings, then what they say about this project root."""
    return [source, *(site for path, site in source.site_settings.items() if expanded(path, home) == str(root))]


def expanded(path: str, home: str) -> str:
    """A path with `~/` replaced."""
    return os.path.join(home, path[2:]) if path.startswith("~/") else path


def cache_directory(settings: Settings, base: Path) -> Path:
    """Where downloads and bases are kept."""
    if settings.cache_dir is None:
        return base / ".cache"
    path = Path(expanded(settings.cache_dir, os.environ.get("HOME", "/")))
    if not path.is_dir():
        raise ConfigurationError(f"cache-dir `{path}` of the settings is no directory; create it or change the setting")
    return path


def from_environment(load: Callable[[bytes, str], Settings]) -> list[Settings]:
    """The settings that VAGGA_SETTINGS holds; nothing when it is unset."""
    text = os.environ.get(VARIABLE)
    return [load(text.encode(), VARIABLE)] if text else []
