"""The public names of `smelt`, and the modules that `import smelt` does not load."""

import importlib
import inspect
import sys

import pytest

import smelt
from tests.harness.processes import run

PROBE = """
import sys, smelt
heavy = {"faster_whisper", "av", "ctranslate2", "onnxruntime", "numpy"}
light = {"httpx", "postgrest", "realtime", "pydantic"} & set(sys.modules)
smelt.connect
print(sorted(heavy & set(sys.modules)), sorted(light))
"""


def test_import_smelt_loads_no_heavy_module() -> None:
    printed = run([sys.executable, "-c", PROBE], check=True).stdout
    assert printed == "[] []\n"


def test_public_names_exist_and_are_sorted() -> None:
    assert smelt.__all__ == sorted(smelt.__all__)
    assert all(getattr(smelt, name) is not None for name in smelt.__all__)
    assert set(smelt.__all__) <= set(dir(smelt))


def test_blocking_client_has_the_same_methods_as_the_async_client() -> None:
    def names(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    shared = names(smelt.Client) - {"aclose", "polling"}
    assert shared == names(smelt.blocking.Client) - {"close"}
    for name in shared:
        blocking_parameters, async_parameters = (
            inspect.signature(getattr(c, name)).parameters for c in (smelt.blocking.Client, smelt.Client)
        )
        assert [*blocking_parameters] == [*async_parameters], name


def test_unknown_public_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError):
        smelt.nothing  # noqa: B018
    assert importlib.import_module("smelt").Client is smelt.Client
