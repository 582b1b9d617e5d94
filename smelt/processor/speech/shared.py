"""The model of a worker: loaded once in the background, shared by all of its smelts, released while nobody needs it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from smelt.errors import SettingsError
from smelt.processor.speech.demo_model_card import notice_of
from smelt.processor.speech.model import ModelOptions, load_model, smaller_compute_type
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber

logger = logging.getLogger(__name__)


class SharedModel:
    """A model that is being loaded from `start` on; whoever asks waits for it, or gets the error of loading it.

    With `idle_s` it is released after so many seconds without a borrower, and loaded again for the next one.
    """

    def __init__(self, model: ModelOptions, speech: SpeechOptions, idle_s: float | None = None) -> None:
        self._model = model
        self._speech = speech
        self._idle_s = idle_s
        self._loading: asyncio.Task[Transcriber] | None = None
        self._failed: asyncio.Queue[SettingsError] = asyncio.Queue()
        self._borrowers = 0
        self._releasing: asyncio.TimerHandle | None = None

    @property
    def about(self) -> dict[str, str]:
        """What readers of a transcript should know: the `model`, and a `notice` where it is not made for all speech."""
        notice = notice_of(self._model.name)
        return {"model": self._model.title} if notice is None else {"model": self._model.title, "notice": notice}

    @property
    def is_loaded(self) -> bool:
        """Whether the model takes memory now."""
        return self._loading is not None and self._loading.done()

    async def keep_loaded(self) -> None:
        """Load in the background; raises the `SettingsError` of this load, or of a later one, and ends no other way."""
        self.start()
        raise await self._failed.get()

    def start(self) -> asyncio.Task[Transcriber]:
        """Begin to load; the task fails with `SettingsError` when the model can't be had."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="load the model")
            # Whoever keeps it ready is told of the error; nobody else may be there to ask for it.
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._loading

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Transcriber]:
        """What hears recordings with this model; it stays loaded for the time of the block."""
        self._borrowers += 1
        if self._releasing is not None:
            self._releasing.cancel()
            self._releasing = None
        try:
            yield await asyncio.shield(self.start())
        finally:
            self._borrowers -= 1
            if self._idle_s is not None and not self._borrowers:
                self._releasing = asyncio.get_running_loop().call_later(self._idle_s, self._release)

    async def smaller(self, than: Transcriber) -> Transcriber | None:
        """What takes less of the machine, for all from now on; None when nothing smaller is known.

        First half the batch, down to one window after the other, then a compute type with fewer bytes.
        """
        if (options := than.options.smaller) is not None:
            transcriber = than.with_options(options)
        else:
            compute_type = await asyncio.to_thread(smaller_compute_type, than.model.model)
            if compute_type is None:
                return None
            # Both at once is what there is no memory for.
            self._loading = None
            await asyncio.to_thread(than.model.model.unload_model)
            self._model = replace(self._model, compute_type=compute_type)
            transcriber = await self._load()
        self._speech = transcriber.options
        self._loading = asyncio.create_task(_answer(transcriber))
        return transcriber

    def _release(self) -> None:
        self._releasing, self._loading = None, None
        logger.info("released the model %s after %.0f s without work", self._model.name, self._idle_s)

    async def _load(self) -> Transcriber:
        began_s = time.monotonic()
        try:
            model = await asyncio.to_thread(load_model, self._model)
        except SettingsError as exc:
            self._failed.put_nowait(exc)
            raise
        logger.info("loaded the model %s in %.1f s", self._model.name, time.monotonic() - began_s)
        if (notice := notice_of(self._model.name)) is not None:
            logger.warning("%s Set SMELT_MODEL to use another one.", notice)
        return Transcriber(model, self._speech)


async def _answer(transcriber: Transcriber) -> Transcriber:
    return transcriber
