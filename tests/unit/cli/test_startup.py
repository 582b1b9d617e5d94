"""The command line imports only the modules that a command needs, and names missing extras."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from smelt.cli import app

HEAVY = (
    *("av", "faster_whisper", "fastapi", "httpx", "numpy", "openai", "postgrest", "prometheus_client", "psycopg"),
    *("pydantic_settings", "realtime", "rich.markdown", "rich.progress", "smelt.settings", "starlette", "supabase"),
)
GROUPS = [name for name, command in get_command(app).commands.items() if isinstance(command, TyperGroup)]
"""The commands that have commands of their own."""


def smelt(*arguments: str, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command line in a new Python process, with code before and after it."""
    program = (
        f"import sys\nsys.argv = {['smelt', *arguments]!r}\n{before}\nfrom smelt.__main__ import main\n"
        f"try:\n    main()\nfinally:\n    {after or 'pass'}"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)


def test_cli_help_loads_neither_pydantic_nor_a_heavy_module() -> None:
    heavy = {"pydantic", *HEAVY}
    done = smelt("--help", after=f"print(*sorted({heavy!r} & set(sys.modules)), file=sys.stderr)")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []


@pytest.mark.parametrize("command", get_command(app).commands)
def test_cli_help_of_a_command_loads_no_heavy_module(command: str) -> None:
    # Typer itself imports pydantic, for the values of options.
    done = smelt(command, "--help", after=f"print(*sorted({set(HEAVY)!r} & set(sys.modules)), file=sys.stderr)")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []
    assert done.stdout.startswith(f"Usage: smelt {command} ")


@pytest.mark.parametrize("arguments", [[], *([group] for group in GROUPS)], ids=" ".join)
def test_cli_help_lists_each_command_with_its_whole_first_sentence(arguments: list[str]) -> None:
    _, commands = smelt(*arguments, "--help").stdout.split("Commands:\n")
    assert all(line.endswith(".") and not line.endswith("...") for line in commands.splitlines())


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


def test_worker_starts_its_model_before_it_imports_the_rest() -> None:
    done = smelt(
        *("worker", "--once"),
        before="""
import os
os.environ.update(SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SERVICE_ROLE_KEY="sb_secret_x")
def on_event(event, arguments):
    if event == "subprocess.Popen":
        has_worker = hasattr(sys.modules.get("smelt.processor.worker"), "Worker")
        print("starts", arguments[1][3], "after" if has_worker else "before", "the imports", file=sys.stderr)
sys.addaudithook(on_event)
""",
    )
    assert done.returncode == 3, done.stderr
    assert "starts smelt.processor.children.model before the imports\n" in done.stderr


def test_worker_imports_no_library_that_it_needs_after_its_first_claim_only() -> None:
    program = "import sys, smelt.processor.worker; print(*{'jwt', 'storage3', 'supabase'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == []


def test_warnings_of_libraries_escape_control_characters() -> None:
    done = smelt("list", after=r"import logging; logging.getLogger('asyncio').warning('a\x1b[2Jb')")
    assert done.stderr.endswith("\na\\u001b[2Jb\n")
