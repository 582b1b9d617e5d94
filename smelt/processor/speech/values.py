"""The values that a worker and its model child exchange; no speech library is imported here."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from smelt.contract.options import SmeltOptions
from smelt.contract.vocabulary import Task
from smelt.contract.work import SavedSegment
from smelt.processor.speech.checkpoint import START, Checkpoint
from smelt.processor.speech.demo_model_card import DEMO
from smelt.processor.speech.languages import Language

# It divides evenly between two lanes and between four. It does not depend on their number, since it decides where spans
# end, and so the text.
_PARALLEL_WINDOWS: Final = 4


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model, its device and its compute type; names and values are those of faster-whisper, and `demo`.

    It transcribes up to `lanes` recordings at a time, or windows of one, each with `cpu_threads`; 0 is the default of
    CTranslate2.
    """

    name: str = DEMO
    device: str = "auto"
    compute_type: str = "default"
    cpu_threads: int = 0
    lanes: int = 1

    @property
    def title(self) -> str:
        """The name of the model for people, without the path of its folder."""
        return Path(self.name).name if Path(self.name).is_dir() else self.name


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The seconds for one window with so many threads, and for a window in each of so many lanes."""

    cpu_threads: int
    lanes: int
    one_s: float
    all_s: float

    @property
    def windows_per_s(self) -> float:
        """The windows per second of all lanes."""
        return self.lanes / self.all_s

    def applied_to(self, model: ModelOptions) -> ModelOptions:
        """Return a model with these threads and lanes."""
        return replace(model, cpu_threads=self.cpu_threads, lanes=self.lanes)


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """Options of transcription; `batch_size` 0 transcribes sequentially, or in parallel if the model has several lanes.

    With `language`, everything is in this language. `vocabulary` are words and names to expect.
    """

    batch_size: int = 0
    beam_size: int = 5
    vad: bool = True
    word_times: bool = False
    max_span_s: float = 120.0
    language: str | None = None
    task: Task = "transcribe"
    vocabulary: tuple[str, ...] = ()

    def for_smelt(self, requested: SmeltOptions) -> "SpeechOptions":
        """Return these options of a worker, with those of a smelt."""
        return replace(
            self,
            word_times=self.word_times if requested.word_times is None else requested.word_times,
            language=requested.language,
            task=requested.task,
            vocabulary=requested.vocabulary,
        )

    def windows_per_step(self, lanes: int) -> int:
        """Return how many windows of a recording a model with so many lanes transcribes between two checkpoints."""
        return self.batch_size or (_PARALLEL_WINDOWS if lanes > 1 else 1)

    @property
    def with_smaller_batch(self) -> "SpeechOptions | None":
        """These options with half the batch size, down to none; None if they have none."""
        return replace(self, batch_size=self.batch_size // 2) if self.batch_size else None


@dataclass(frozen=True, kw_only=True)
class LoadedInfo:
    """A model in memory; `smaller_compute_type` needs less memory, None if there is none.

    `names` are those under which a smelt may request the model, `languages` the codes of those that it knows.
    """

    names: tuple[str, ...]
    languages: tuple[str, ...]
    compute_type: str
    device: str
    smaller_compute_type: str | None
    window_s: float
    cpu_threads: int
    lanes: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """The transcription of a recording from a checkpoint.

    Unless the options name a language, that of each window is detected, and is `main_language` if the detection is
    uncertain; without `main_language`, that is detected first. `channels` are the numbers of separate channels. With
    `is_alone`, its windows are transcribed one at a time.
    """

    sample_count: int
    options: SpeechOptions
    channels: tuple[int, ...] = ()
    main_language: str | None = None
    start: Checkpoint = START
    is_alone: bool = False


@dataclass(frozen=True)
class Passage:
    """The segments up to `position_s` of the recording, and the checkpoint to resume from after them.

    The first passage of a span precedes its transcription: `prepared_s` is the length of the span. `remaining_speech_s`
    is the speech of the span that is not transcribed yet.
    """

    segments: tuple[SavedSegment, ...]
    position_s: float
    checkpoint: Checkpoint
    prepared_s: float = 0.0
    remaining_speech_s: float = 0.0


# Their form in messages.
MODEL_OPTIONS: Final = TypeAdapter(ModelOptions)
MEASUREMENT: Final = TypeAdapter(Measurement)
LOADED_INFO: Final = TypeAdapter(LoadedInfo)
JOB: Final = TypeAdapter(Job)
LANGUAGE: Final = TypeAdapter(Language)
PASSAGE: Final = TypeAdapter(Passage)
