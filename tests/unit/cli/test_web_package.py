"""The JavaScript package is complete, typed and current, and reaches an app as modules or as an archive."""

import io
import json
import os
import re
import shutil
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smelt.cli import app
from smelt.cli.declarations.schema import contract_schema
from smelt.cli.declarations.typescript import typescript
from smelt.distribution import NAME
from smelt.js_package import package_files
from tests.harness.processes import run

JS = Path(__file__).parents[2] / "js"
MODULES = JS / "node_modules"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not MODULES.exists(), reason="run `npm install` in tests/js"
)


def smelt(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, " ".join(done.output.split())


def test_types_of_the_contract_are_current() -> None:
    current = package_files()["contract.d.ts"].decode() == typescript(contract_schema())
    assert current, "run: smelt contract > smelt/web/contract.d.ts"


def test_package_has_the_version_of_smelt_and_every_exported_file() -> None:
    about = json.loads(package_files()["package.json"])
    assert about["version"] == version(NAME)
    exported = [
        path for entry in about["exports"].values() for path in (entry if isinstance(entry, str) else entry.values())
    ]
    names = re.findall(r"\./([\w.-]+)", json.dumps(about["exports"]))
    assert exported
    assert {name for name in names if "." in name} <= set(package_files())


def test_declared_values_of_the_package_are_those_that_it_exports() -> None:
    files = {name: package_files()[name].decode() for name in ("index.js", "smelt.d.ts")}
    exported = {name.strip() for names in re.findall(r"{(.*?)}", files["index.js"]) for name in names.split(",")}
    declared = set(re.findall(r"^export (?:class|function|const) (\w+)", files["smelt.d.ts"], re.MULTILINE))
    assert exported == declared


def test_init_js_copies_the_package_and_replaces_an_earlier_copy(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "smelt"
    code, printed = smelt("init", "--js", folder)
    assert (code, printed.startswith("Wrote")) == (0, True)
    (folder / "index.js").write_text("// older")
    assert smelt("init", "--js", folder)[0] == 0
    copied = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in copied.items()} == package_files()


def test_init_js_changes_no_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "index.js").write_text("// mine")
    code, printed = smelt("init", "--js", tmp_path)
    assert (code, "contains other files" in printed) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["index.js"]


def test_init_js_removes_modules_that_the_package_no_longer_has(tmp_path: Path) -> None:
    folder, outside = tmp_path / "smelt", tmp_path / "outside.js"
    assert smelt("init", "--js", folder)[0] == 0
    removed = ["gone.js", "elements/gone.js"]
    for name in ("mine.js", *removed):
        (folder / name).write_text("// a module")
    outside.write_text("// not in the package")
    about = json.loads((folder / "package.json").read_text())
    about["files"] += [*removed, "missing.js", "../outside.js", str(outside), 3]
    (folder / "package.json").write_text(json.dumps(about))
    assert smelt("init", "--js", folder)[0] == 0
    copied = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert copied == {*package_files(), "mine.js"}
    assert outside.exists()


def test_init_js_reports_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, printed = smelt("init", "--js", tmp_path / "file" / "smelt")
    assert (code, "file is a file: pass a folder" in printed) == (2, True)
    folder = tmp_path / "smelt"
    assert smelt("init", "--js", folder)[0] == 0
    (folder / "index.js").unlink()
    (folder / "index.js").mkdir()
    code, printed = smelt("init", "--js", folder)
    assert (code, "index.js can't be read or written: Is a directory" in printed) == (2, True)


def test_init_reports_migrations_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "migrations").write_text("")
    code, printed = smelt("init", tmp_path)
    assert (code, "migrations can't be read or written: File exists" in printed) == (2, True)


def test_init_rejects_a_js_folder_before_it_adds_migrations(tmp_path: Path) -> None:
    project, js = tmp_path / "project", tmp_path / "app"
    for folder in (project, js):
        folder.mkdir()
    (js / "index.js").write_text("// mine")
    code, printed = smelt("init", project, "--js", js)
    assert (code, "contains other files" in printed) == (2, True)
    assert list(project.iterdir()) == []


def test_init_needs_a_folder() -> None:
    assert smelt("init")[0] == 2


def test_js_package_is_the_same_archive_each_time(tmp_path: Path) -> None:
    for name in ("a.tgz", "b.tgz"):
        assert smelt("contract", "--js-package", tmp_path / name)[0] == 0
    packed = (tmp_path / "a.tgz").read_bytes()
    assert packed == (tmp_path / "b.tgz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        contents = {entry.name: archive.extractfile(entry) for entry in archive}
        assert {name: file and file.read() for name, file in contents.items()} == {
            f"package/{name}": content for name, content in package_files().items()
        }
    code, printed = smelt("contract", "--js-package", tmp_path / "missing" / "a.tgz")
    assert (code, "can't be written" in printed) == (2, True)


@needs_node
def test_package_and_an_app_pass_the_strict_type_check(tmp_path: Path) -> None:
    shutil.copytree(JS / "types", tmp_path / "app")
    assert smelt("init", "--js", tmp_path / "app" / "smelt")[0] == 0
    for name in ("react", "query", "elements"):  # A module beside its declarations is not checked itself.
        shutil.copy(tmp_path / "app" / "smelt" / f"{name}.js", tmp_path / "app" / "smelt" / f"{name}-module.js")
    (tmp_path / "app" / "node_modules").symlink_to(MODULES)
    compiler = MODULES / ".bin" / "tsc"
    done = run([str(compiler), "-p", "tsconfig.json"], cwd=tmp_path / "app", env={**os.environ}, timeout_s=100)
    assert done.returncode == 0, done.stdout


@needs_node
@pytest.mark.parametrize("script", sorted(path.name for path in (JS / "pure").glob("*.test.mjs")))
def test_pure_parts_of_the_package(script: str) -> None:
    done = run(["node", "--test", "--test-reporter=spec", f"pure/{script}"], cwd=JS, env={**os.environ}, timeout_s=100)
    assert done.returncode == 0, done.stdout + done.stderr
