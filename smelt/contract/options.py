"""The options of one smelt, as its creator requests them."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from smelt.contract.events import Model
from smelt.contract.vocabulary import MAX_VOCABULARY, Channels, Task

Term = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
"""A word or name of `vocabulary`."""


class SmeltOptions(Model):
    """The options of a smelt; one that is not set has its default. Unknown options are refused.

    Attributes:
        language: The code of the language that is spoken, for example `de`; None detects it in each part.
        task: `transcribe`, or `translate` into English.
        vocabulary: Words and names to expect, as they are spelled; at most 100, of at most 100 characters.
        word_times: Save when each word is spoken; None leaves it to the worker.
        channels: `mixed`, or `separate`: each channel is transcribed and is a speaker.
        speakers: Identify the speakers by their voices; needs `mixed` channels, and a worker with a speaker model.
        model: The name of the model; None for any that a worker has.
        keep_audio_h: Hours to keep the audio after the smelt has ended, at most the operator's limit; None removes it
            as usual.
    """

    model_config = ConfigDict(extra="forbid")

    language: str | None = None
    task: Task = "transcribe"
    vocabulary: Annotated[tuple[Term, ...], Field(max_length=MAX_VOCABULARY)] = ()
    word_times: bool | None = None
    channels: Channels = "mixed"
    speakers: bool = False
    model: str | None = None
    keep_audio_h: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
