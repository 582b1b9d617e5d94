"""The command line imports only the modules that a command needs, and names missing extras."""

import subprocess
import sys
from importlib.metadata import version

import pytest

HEAVY = ("av", "faster_whisper", "httpx", "numpy", "prometheus_client", "psycopg", "realtime", "supabase")


def smelt(*arguments: str, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command line in a new Python process, with code before and after it."""
    program = (
        f"import sys\nsys.argv = {['smelt', *arguments]!r}\n{before}\nfrom smelt.__main__ import main\n"
        f"try:\n    main()\nfinally:\n    {after or 'pass'}"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)


def test_cli_help_loads_no_heavy_module() -> None:
    done = smelt("--help", after=f"print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []
    for command in ("doctor", "list", "contract", "init", "worker"):
        assert command in done.stdout


def test_cli_version_needs_no_command() -> None:
    done = smelt("--version")
    assert (done.returncode, done.stdout.strip()) == (0, version("supabase-smelt"))


@pytest.mark.parametrize(("command", "module"), [("worker", "av"), ("serve", "fastapi")])
def test_cli_names_a_missing_extra(command: str, module: str) -> None:
    done = smelt(command, before=f"sys.modules['{module}'] = None")
    assert done.returncode == 2
    assert f"{module} is not installed" in done.stderr
    assert "[gateway,local,processor]" in done.stderr
    assert "Traceback" not in done.stderr


def test_warnings_of_libraries_escape_control_characters() -> None:
    done = smelt("list", after=r"import logging; logging.getLogger('asyncio').warning('a\x1b[2Jb')")
    assert done.stderr.endswith("\na\\u001b[2Jb\n")
