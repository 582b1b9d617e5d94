"""The distribution that contains this package: its name, its migrations, and the command that installs its extras."""

import json
import shlex
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

NAME: Final = "supabase-smelt"
"""The name on package indexes, where the name `smelt` belongs to another project."""


def supabase_folder() -> Path:
    """Return the project folder with smelt's migrations: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "supabase"
    return installed if installed.is_dir() else package.parent / "supabase"


def install_command(extras: str) -> str:
    """Return the command that adds `extras`, such as `processor,local`, to this installation."""
    from importlib import metadata

    try:
        origin = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # A checkout that is imported without being installed.
        origin = json.dumps({"url": Path(__file__).parents[1].as_uri()})
    return command_from(None if origin is None else json.loads(origin), extras)


def command_from(origin: dict[str, Any] | None, extras: str) -> str:
    """Return the command that installs `extras` from the place that this installation came from.

    Args:
        origin: The content of `direct_url.json`, which installers write; None for an installation from an index.
            https://packaging.python.org/en/latest/specifications/direct-url/
        extras: Their names, with commas between them.
    """
    if origin is None:
        return f"pip install '{NAME}[{extras}]'"
    from urllib.request import url2pathname

    address = urlsplit(origin["url"])
    if address.scheme != "file":
        vcs = f"{origin['vcs_info']['vcs']}+" if "vcs_info" in origin else ""
        return f"pip install '{NAME}[{extras}] @ {vcs}{origin['url']}'"
    place = Path(url2pathname(address.path))
    if not (place.is_file() or (place / "pyproject.toml").is_file()):
        return f"pip install '.[{extras}]' in a checkout of smelt"
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}{shlex.quote(f'{place}[{extras}]')}"
