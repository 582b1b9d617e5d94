"""The Supabase CLI, with an embedded stack as its remote database."""

import subprocess
from pathlib import Path

import pytest

from smelt.distribution import supabase_folder
from smelt.local import StackHandle
from tests.harness.processes import run

CLI = Path(__file__).parents[2] / "js" / "node_modules" / ".bin" / "supabase"

needs_cli = pytest.mark.skipif(not CLI.exists(), reason="the Supabase CLI is missing: run `npm install` in tests/js")


def supabase(*arguments: str, stack: StackHandle, project: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command of the CLI in a folder with `supabase/`, by default that of smelt's project."""
    command = [str(CLI), *arguments, f"--remote={stack.db_url}"]
    return run(command, cwd=project or supabase_folder().parent, timeout_s=110, check=True)
