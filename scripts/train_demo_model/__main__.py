"""Train the demo model, evaluate it, and put it into the package if it is accurate enough."""

import argparse
import dataclasses
import hashlib
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import bank
import evaluate
import grammar
import tokens
import torch
from card import write_card
from export import export
from train import FROM_SCRATCH, FROM_WEIGHTS, Recipe, Training

SHIPPED = Path(__file__).resolve().parents[2] / "smelt" / "processor" / "demo_model"
TEST_SEED = 90_210


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python scripts/train_demo_model", description="Train the demo model; a stopped run resumes."
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo_model"), help="folder for all files that are made"
    )
    parser.add_argument("--ship", action="store_true", help="replace the model of the package if the new one passes")
    parser.add_argument("--start", type=Path, metavar="MODEL", help="start from the weights of an exported model")
    options = parser.parse_args()
    work, model, recipe = options.work, options.work / "model", FROM_WEIGHTS if options.start else FROM_SCRATCH
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = work / "tokenizer.json"
    vocabulary = tokens.build(grammar.vocabulary(), tokenizer)
    bank.fill(work / "bank", recipe.utterances, recipe.seed, tokenizer)
    utterances = bank.Bank(work / "bank")
    export(Training(recipe, vocabulary, utterances, work, options.start).run(), tokenizer, model)
    print("evaluating: 312 recordings, some minutes", file=sys.stderr)
    figures = evaluate.evaluate(model, utterances.texts(), work / "test_set", TEST_SEED)
    report = {"made_by": _origin(recipe, options.start), **figures}
    evaluate.write(report, model / "evaluation.json")
    write_card(model, report)
    if not figures["passed"]:
        print(f"The model is not accurate enough to be shipped: see {model / 'evaluation.json'}", file=sys.stderr)
        return 1
    if options.ship:
        shutil.copytree(model, SHIPPED, dirs_exist_ok=True)
    return 0


def _origin(recipe: Recipe, start: Path | None) -> dict[str, object]:
    return {
        "command": "scripts/train_demo_model/run",
        "examination": "made after the training, from held-out sentences and voices; faster-whisper unmodified, "
        f"int8, {evaluate.CPU_THREADS} threads",
        "started_from": f"weights with SHA-256 {_sha256(start / 'model.bin')}" if start else "random weights",
        "recipe": dataclasses.asdict(recipe),
        "words": len({word.lower() for word in grammar.vocabulary()}),
        "versions": {name: version(name) for name in ("torch", "ctranslate2", "faster-whisper")},
        "python": platform.python_version(),
        "trained_on": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
