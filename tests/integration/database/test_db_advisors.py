"""The advisors of the Supabase CLI accept the migrations."""

import json
from typing import Final

import pytest

from tests.harness.processes import run
from tests.harness.stacks import Stack
from tests.integration.database.db_server import REPOSITORY

CLI: Final = REPOSITORY / "tests" / "js" / "node_modules" / ".bin" / "supabase"


@pytest.mark.skipif(not CLI.exists(), reason="the Supabase CLI is missing: run `npm install` in tests/js")
def test_advisors_report_nothing_but_unused_indexes(stack: Stack) -> None:
    command = [str(CLI), "db", "advisors", f"--remote={stack.db_url}", "--level", "info", "--output-format", "json"]
    done = run(command, cwd=REPOSITORY, check=True)
    findings = json.loads(done.stdout)["results"]
    assert {finding["name"] for finding in findings} <= {"unused_index"}
    # No finding at all would mean that nothing was checked: the indexes of an idle stack are unused.
    assert findings
