"""The histories of the core's model detect faults in the SQL functions; `scripts/mutants` plants all of them."""

import pytest

from tests.integration.database.db_calls import Database
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
