from __future__ import annotations

from pathlib import Path

import pytest

from manor.kernel.file_systems import sync_file_system


def test_a_file_system_is_synced_by_any_directory_of_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    sync_file_system(tmp_path)
    with pytest.raises(NotADirectoryError):
        sync_file_system(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "nothing")
