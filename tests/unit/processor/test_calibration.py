"""The threads and lanes of a model: what is tried, chosen, and kept."""

import json
import logging
from pathlib import Path

import pytest

from smelt.processor.speech import calibration
from smelt.processor.speech.calibration import Calibration, best, cpu_count
from smelt.processor.speech.demo_model_card import demo_folder
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.values import Measurement, ModelOptions, SpeechOptions
from tests.harness.patched_children import PatchedChildren

# The demo model by another name, so that it is measured.
MODEL = ModelOptions(name=str(demo_folder()), device="cpu", compute_type="int8")


def measurement(cpu_threads: int, lanes: int, one_s: float, all_s: float) -> Measurement:
    return Measurement(cpu_threads=cpu_threads, lanes=lanes, one_s=one_s, all_s=all_s)


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "cpu_count", lambda: 4)


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(
    ("settings", "tried"),
    [
        (Calibration(), [(4, 1), (2, 2), (1, 4)]),
        (Calibration(max_lanes=3), [(4, 1), (2, 2)]),
        (Calibration(max_lanes=1), [(4, 1)]),
        (Calibration(cpu_threads=2), [(2, 1), (2, 2)]),
        (Calibration(cpu_threads=16), [(16, 1)]),
        (Calibration(lanes=3), [(1, 3)]),
        (Calibration(cpu_threads=3, lanes=5), [(3, 5)]),
    ],
)
def test_calibration_divides_the_processors_between_lanes(settings: Calibration, tried: list[tuple[int, int]]) -> None:
    assert [(one.cpu_threads, one.lanes) for one in settings.candidates(MODEL)] == tried


def test_calibration_uses_at_most_eight_threads_for_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "cpu_count", lambda: 64)
    assert [(one.cpu_threads, one.lanes) for one in Calibration().candidates(MODEL)] == [(8, 1), (8, 2), (8, 4)]


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [(Calibration(), (0, 1)), (Calibration(lanes=2), (0, 2)), (Calibration(cpu_threads=1), (1, 1))],
)
def test_calibration_does_not_measure_the_demo_model(settings: Calibration, chosen: tuple[int, int]) -> None:
    known = settings.known(ModelOptions())
    assert known is not None
    assert (known.cpu_threads, known.lanes) == chosen


@pytest.mark.parametrize(
    ("measured", "lanes"),
    [
        # One thread is quicker than two that wait for each other.
        ([measurement(2, 1, 1.5, 1.5), measurement(1, 2, 1.0, 1.1)], 2),
        # A queue is faster, and one recording takes little longer.
        ([measurement(4, 1, 1.0, 1.0), measurement(2, 2, 1.2, 1.3), measurement(1, 4, 2.0, 2.0)], 2),
        # A recording would take twice as long.
        ([measurement(2, 1, 1.0, 1.0), measurement(1, 2, 2.0, 2.0)], 1),
        # The gain is not worth the memory.
        ([measurement(2, 1, 1.0, 1.0), measurement(1, 2, 1.1, 1.9)], 1),
        ([measurement(1, 1, 1.0, 1.0)], 1),
    ],
)
def test_calibration_prefers_the_queue_unless_one_recording_takes_much_longer(
    measured: list[Measurement], lanes: int
) -> None:
    chosen = best(measured)
    assert chosen is not None
    assert chosen.lanes == lanes
    assert best(measured[::-1]) == chosen


def test_calibration_without_a_measurement_chooses_nothing() -> None:
    assert best([]) is None


def test_processors_of_this_process_are_counted() -> None:
    assert cpu_count() >= 1


async def loaded(settings: Calibration) -> ModelOptions:
    model = SharedModel(MODEL, SpeechOptions(), calibration=settings)
    try:
        await model.wait_usable()
        return model.options
    finally:
        await model.aclose()


@pytest.mark.usefixtures("four_cpus")
async def test_calibration_is_measured_once_and_kept(tmp_path: Path, children: PatchedChildren) -> None:
    children.run("""
import smelt.processor.speech.timing as module
real = module.timed
def timed(models):
    record("measurement")
    return real(models)
module.timed = timed
""")
    settings = Calibration(max_lanes=2, path=tmp_path / "new" / "calibration.json")
    chosen = await loaded(settings)
    assert (chosen.cpu_threads, chosen.lanes) in {(4, 1), (2, 2)}
    assert settings.known(MODEL) == chosen
    assert await loaded(settings) == chosen
    assert children.calls == ["measurement"]
    # Another limit, and another compute type, are other choices.
    assert Calibration(max_lanes=4, path=settings.path).known(MODEL) is None
    assert settings.known(ModelOptions(name=MODEL.name, device="cpu", compute_type="float32")) is None
    assert len(json.loads((tmp_path / "new" / "calibration.json").read_text())) == 1


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGILL)"])
async def test_calibration_that_fails_leaves_the_defaults(
    code: str, tmp_path: Path, children: PatchedChildren, caplog: pytest.LogCaptureFixture
) -> None:
    children.run(f"""
import smelt.processor.speech.timing as module
def timed(models):
    {code}
module.timed = timed
""")
    assert await loaded(Calibration(path=tmp_path / "calibration.json")) == MODEL
    assert "SMELT_CPU_THREADS" in caplog.text
    assert Calibration(path=tmp_path / "calibration.json").known(MODEL) is None


@pytest.mark.usefixtures("four_cpus")
async def test_calibration_chooses_from_what_was_measured_in_time(
    tmp_path: Path, children: PatchedChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    children.run("""
import time
import smelt.processor.speech.timing as module
real = module.timed
def timed(models):
    yield next(real(models))
    time.sleep(1000)
module.timed = timed
""")
    monkeypatch.setattr(calibration, "TIMEOUT_S", 20.0)
    chosen = await loaded(Calibration(path=tmp_path / "calibration.json"))
    assert (chosen.cpu_threads, chosen.lanes) == (4, 1)


@pytest.mark.usefixtures("four_cpus")
async def test_calibration_that_can_not_be_kept_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    settings = Calibration(max_lanes=2, path=tmp_path / "file" / "calibration.json")
    assert await loaded(settings) in settings.candidates(MODEL)
    assert "the choice is not kept" in caplog.text


def test_damaged_calibration_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text("[1")
    assert Calibration(path=path).known(MODEL) is None or cpu_count() == 1
