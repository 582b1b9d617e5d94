"""The core's model detects faults in the SQL functions; `scripts/mutants` plants all of them."""

import re

import pytest

from tests.integration.database.db_calls import Database
from tests.integration.database.db_server import REPOSITORY
from tests.integration.database.mutants import MUTANTS, Mutant, first_error

FOUND_AT_ONCE = ("lease outlives the end", "end is not sent", "cancel ends a smelt again")


@pytest.mark.parametrize("name", FOUND_AT_ONCE)
@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_fault_in_a_function_is_detected(name: str, database: Database) -> None:
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == name]
    assert first_error(database, mutant, examples=100) is not None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_fault_applies_to_its_migration(mutant: Mutant) -> None:
    # If a migration was changed, adapt the text that the fault replaces.
    assert mutant.statement().startswith("create or replace function")


def test_readme_lists_every_fault() -> None:
    readme = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8")
    section = readme.partition("### Faults in the SQL functions\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", section, re.MULTILINE)
    assert listed == [(mutant.name, mutant.migration) for mutant in MUTANTS]
