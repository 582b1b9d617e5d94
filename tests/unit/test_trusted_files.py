"""Files are opened only if they are regular and owned by a trusted user."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from smelt.trusted_files import UntrustedFile, trusted_opener
from tests.harness.impostors import assert_untouched, each_impostor, needs_root

MODES = ("r", "r+", "w", "a", "a+")


@each_impostor
@pytest.mark.parametrize("mode", MODES)
def test_trusted_opener_rejects_impostors(tmp_path: Path, plant: Callable[[Path], None], mode: str) -> None:
    """The opener fails at once in every mode and leaves the file unchanged."""
    path = tmp_path / "file"
    plant(path)
    before = path.lstat()
    sentence = rf"^{path} (is not a regular file|belongs to another user)$"
    with pytest.raises(UntrustedFile, match=sentence), open(path, mode, opener=trusted_opener()):
        pass
    assert (path.lstat().st_mode, path.lstat().st_size) == (before.st_mode, before.st_size)
    assert_untouched(path)


def test_trusted_opener_opens_files_of_its_own_user(tmp_path: Path) -> None:
    """The opener creates, truncates and appends as `open` does, and raises for a missing file."""
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError), open(path, opener=trusted_opener()):
        pass
    for mode, content in (("w", "a long first text"), ("w", "short"), ("a", "er")):
        with open(path, mode, opener=trusted_opener()) as file:
            file.write(content)
            assert os.get_blocking(file.fileno())
            assert not os.get_inheritable(file.fileno())
    with open(path, opener=trusted_opener()) as file:
        assert file.read() == "shorter"


@needs_root
def test_trusted_opener_accepts_files_of_the_given_users(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("theirs")
    os.chown(path, 1, -1)
    with open(path, opener=trusted_opener(1)) as file:
        assert file.read() == "theirs"
    with pytest.raises(UntrustedFile), open(path, opener=trusted_opener(2, 0)):
        pass
