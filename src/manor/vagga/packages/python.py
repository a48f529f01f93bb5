"""Python packages by pip or uv. Neither stays in the image: both are mounted for the step."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manor.vagga.errors import PreparationError
from manor.vagga.requirements import needs
from manor.vagga.steps.pip_config import PipConfig

if TYPE_CHECKING:
    from manor.vagga.guest import Guest

UV: Final = "/run/vagga/uv"
UV_CACHE: Final = "/run/vagga/uv-cache"
PIP_CACHE: Final = "/run/vagga/pip-cache"
PIP: Final = "/tmp/pip-install"
COMPILER: Final = ("build-essential", "ca-certificates")


def install_python_packages(guest: Guest, words: Sequence[str], lines: Sequence[str] = ()) -> None:
    """Install requirements for Python 3, given as words of pip's command line.

    Args:
        lines: the requirements themselves where `words` names a file of them.
    """
    config = guest.state.pip
    _install_interpreter(guest, config, lines or words)
    python = config.python_exe or "python3"
    guest.mount()
    guest.mount_file(_find_uv(guest), UV)
    guest.mount_directory(guest.cache_directory("uv-cache"), UV_CACHE)
    program = _located(guest, python)
    if config.installer == "uv":
        _by_uv(guest, config, program, words)
    else:
        _by_pip(guest, config, program, words)
    if python not in guest.state.pythons:
        guest.state.pythons.append(python)


def _install_interpreter(guest: Guest, config: PipConfig, lines: Sequence[str]) -> None:
    """Python stays; headers, compiler and version control are for the build only."""
    programs = sorted(needs(lines))
    if config.install_python:
        guest.packages().install(["python3"], for_build=["python3-dev", *COMPILER, *programs])
    elif programs:
        guest.packages().install_for_build(programs)


def _located(guest: Guest, python: str) -> str:
    """The interpreter with its directory: uv takes a bare `python3` for a wish to have some Python 3."""
    if "/" in python:
        return python
    for directory in guest.environment()["PATH"].split(":"):
        if os.path.lexists(f"{guest.root}{directory}/{python}"):
            return f"{directory}/{python}"
    raise PreparationError(f"`{python}` was not found in PATH; install it, or name another with `python-exe`")


def _by_uv(guest: Guest, config: PipConfig, python: str, words: Sequence[str]) -> None:
    guest.run(
        [UV, "pip", "install", "--python", python, "--break-system-packages", "--reinstall", "--no-progress",
         "--compile-bytecode", *_uv_options(guest, config), *words],
        environ=_uv_environment(),
    )  # fmt: skip


def _by_pip(guest: Guest, config: PipConfig, python: str, words: Sequence[str]) -> None:
    """The newest pip that admits this interpreter is put where a later step of this build finds it, too."""
    if not (guest.root / PIP.lstrip("/") / "pip").is_dir():
        bootstrap = ["pip", *config.get_pip_args]
        guest.run(
            [UV, "pip", "install", "--python", python, "--target", PIP, "--no-progress",
             *_index_options(guest, config, by_uv=True), *bootstrap],
            environ=_uv_environment(),
        )  # fmt: skip
    cache = guest.cache_directory("pip-cache")
    guest.mount_directory(cache, PIP_CACHE)
    options = ["--break-system-packages", "--root-user-action=ignore", "--disable-pip-version-check", "--no-input"]
    if not config.dependencies:
        options.append("--no-deps")
    if config.allow_pre_releases:
        options.append("--pre")
    options += ["--cache-dir", PIP_CACHE] if config.cache_wheels else ["--no-cache-dir"]
    for host in config.trusted_hosts:
        options += ["--trusted-host", host]
    guest.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--ignore-installed",
            *options,
            *_index_options(guest, config, by_uv=False),
            *words,
        ],
        environ={"PYTHONPATH": PIP},
    )


def _uv_options(guest: Guest, config: PipConfig) -> list[str]:
    options = _index_options(guest, config, by_uv=True)
    if not config.dependencies:
        options.append("--no-deps")
    if config.allow_pre_releases:
        options.append("--prerelease=allow")
    if not config.cache_wheels:
        options.append("--no-cache")
    for host in config.trusted_hosts:
        options += ["--allow-insecure-host", host]
    return options


def _index_options(guest: Guest, config: PipConfig, *, by_uv: bool) -> list[str]:
    """The first index is the main one; with uv as with pip all are asked for the best version."""
    urls = config.index_urls or ((guest.settings.pypi_index,) if guest.settings.pypi_index else ())
    options = [word for url in urls[:1] for word in ("--index-url", url)]
    options += [word for url in urls[1:] for word in ("--extra-index-url", url)]
    options += [word for link in config.find_links for word in ("--find-links", link)]
    if by_uv and len(urls) > 1:
        options.append("--index-strategy=unsafe-best-match")
    return options


def _uv_environment() -> dict[str, str]:
    return {"UV_CACHE_DIR": UV_CACHE, "UV_LINK_MODE": "copy", "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}


def _find_uv(guest: Guest) -> str:
    """The host's uv: the one named by the settings, beside our interpreter, or in PATH."""
    chosen = guest.settings.uv_path
    if chosen is not None and chosen != "auto":
        if not os.access(chosen, os.X_OK):
            raise PreparationError(
                f"uv-path `{chosen}` of the settings is no executable file; correct it or use `auto`"
            )
        return chosen
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise PreparationError("`uv` was not found; install it, or name it with the setting `uv-path`")
    return os.path.realpath(found)
