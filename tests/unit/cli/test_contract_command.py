"""The contract in TypeScript and as JSON Schema matches the models."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smelt.cli import app
from smelt.cli.declarations.schema import CHANNELS, STATES, VOCABULARY, contract_schema
from smelt.cli.declarations.typescript import typescript

MODELS = [model for channel in CHANNELS.values() for model in channel.values()] + list(STATES)
COMPILER = Path(__file__).parents[2] / "js" / "node_modules" / ".bin" / "tsc"
USE = """
import type { ProgressEvent, SmeltEvents, Snapshot, WebhookEvents } from './contract'
declare function on<E extends keyof SmeltEvents>(event: E, take: (payload: SmeltEvents[E]) => void): void
on('completed', (payload) => payload.results.map((result) => result.content.length))
on('progress', ({ eta_seconds }) => eta_seconds?.toFixed())
const verified = (event: WebhookEvents['smelt.completed']) => event.data.metadata['course']
// @ts-expect-error an unknown event
on('lost', () => {})
// @ts-expect-error an unknown status
const status: ProgressEvent['status'] = 'lost'
// @ts-expect-error null until it is completed
const length = (state: Snapshot) => state.results.length
// @ts-expect-error states are read-only
const change = (state: Snapshot) => { state.files.push(state.files[0]) }
"""


def declared(name: str) -> str:
    """Return the body of an interface."""
    match = re.search(rf"export interface {name} {{\n(.*?)}}", typescript(contract_schema()), re.DOTALL)
    assert match is not None, name
    return match[1]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_typescript_declares_every_field_with_optional_defaults(model: type) -> None:
    fields = dict(re.findall(r"readonly (\w+)(\??):", declared(model.__name__)))
    assert fields == {name: "" if field.is_required() else "?" for name, field in model.model_fields.items()}


def test_typescript_uses_unions_for_vocabularies() -> None:
    assert 'export type Outcome = "complete" | "partial"\n' in typescript(contract_schema())
    assert "readonly outcome: Outcome | null\n" in declared("Snapshot")
    assert 'readonly status: "completed"\n' in declared("CompletedEvent")
    assert "readonly segments: readonly Segment[]\n" in declared("SegmentsEvent")


def test_typescript_declares_stretches_as_pairs_of_numbers() -> None:
    assert "readonly untranscribed?: readonly (readonly [number, number])[]\n" in declared("Trust")


def test_typescript_declares_every_name_that_it_uses() -> None:
    text = typescript(contract_schema())
    used = set(re.findall(r"[:|] (?:readonly )?\(?([A-Z]\w+)", re.sub(r"/\*\*.*?\*/", "", text, flags=re.DOTALL)))
    assert used <= set(re.findall(r"export (?:type|interface) (\w+)", text)) | {"Readonly"}


def test_json_schema_contains_all_models_and_resolves_references() -> None:
    schema = contract_schema()
    assert {model.__name__ for model in MODELS} | set(VOCABULARY) | set(CHANNELS) <= set(schema["$defs"])
    for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)):
        assert name in schema["$defs"]


def test_contract_command_prints_typescript_and_json_schema() -> None:
    run = CliRunner().invoke
    assert json.loads(run(app, ["contract", "--format", "jsonschema"]).output) == contract_schema()
    assert run(app, ["contract"]).output == typescript(contract_schema())


@pytest.mark.skipif(not COMPILER.exists(), reason="run `npm install` in tests/js")
def test_typescript_declarations_pass_a_strict_compiler(tmp_path: Path) -> None:
    (tmp_path / "contract.ts").write_text(typescript(contract_schema()))
    (tmp_path / "use.ts").write_text(USE)
    flags = "--strict --noEmit --noUncheckedIndexedAccess --target es2022 --module esnext --moduleResolution bundler"
    checked = subprocess.run(
        [COMPILER, *flags.split(), "use.ts"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout
