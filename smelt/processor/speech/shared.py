"""The model of a worker: loaded once in the background, shared by all of its smelts, released when idle."""

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
    """A model that is loaded from `start` on; `acquire` waits for it and raises the error of a failed load.

    After `idle_s` without a user it is released, and loaded again for the next one.
    """

    def __init__(self, model: ModelOptions, speech: SpeechOptions, idle_s: float | None = None) -> None:
        self._model = model
        self._speech = speech
        self._idle_s = idle_s
        self._loading: asyncio.Task[Transcriber] | None = None
        self._failed: asyncio.Queue[SettingsError] = asyncio.Queue()
        self._user_count = 0
        self._release_timer: asyncio.TimerHandle | None = None

    @property
    def info(self) -> dict[str, str]:
        """The `model` that made a transcript, and a `notice` for its readers if the model has one."""
        notice = notice_of(self._model.name)
        return {"model": self._model.title} if notice is None else {"model": self._model.title, "notice": notice}

    @property
    def is_loaded(self) -> bool:
        """True if the model is in memory."""
        return self._loading is not None and self._loading.done()

    async def run_until_load_fails(self) -> None:
        """Load in the background; raises the `SettingsError` of this load or a later one, and never returns."""
        self.start()
        raise await self._failed.get()

    def start(self) -> asyncio.Task[Transcriber]:
        """Start to load; the task fails with `SettingsError` if loading fails."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="load the model")
            # `run_until_load_fails` raises the error. Retrieve it here, in case no one awaits this task.
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._loading

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Transcriber]:
        """Return the transcriber with this model, which stays loaded for the block."""
        self._user_count += 1
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        try:
            yield await asyncio.shield(self.start())
        finally:
            self._user_count -= 1
            if self._idle_s is not None and not self._user_count:
                self._release_timer = asyncio.get_running_loop().call_later(self._idle_s, self._release)

    async def reduce_memory(self, transcriber: Transcriber) -> Transcriber | None:
        """Return a transcriber that needs less memory, used by all from now on; None if there is none.

        Halves the batch size, down to sequential transcription, then picks a compute type with fewer bytes.
        """
        if (options := transcriber.options.with_smaller_batch) is not None:
            smaller = transcriber.with_options(options)
        else:
            compute_type = await asyncio.to_thread(smaller_compute_type, transcriber.model.model)
            if compute_type is None:
                return None
            # Unload first: both do not fit into memory.
            self._loading = None
            await asyncio.to_thread(transcriber.model.model.unload_model)
            self._model = replace(self._model, compute_type=compute_type)
            smaller = await self._load()
        self._speech = smaller.options
        self._loading = asyncio.create_task(_already_loaded(smaller))
        return smaller

    def _release(self) -> None:
        self._release_timer, self._loading = None, None
        logger.info("released the model %s after %.0f s without work", self._model.name, self._idle_s)

    async def _load(self) -> Transcriber:
        started_s = time.monotonic()
        try:
            model = await asyncio.to_thread(load_model, self._model)
        except SettingsError as exc:
            self._failed.put_nowait(exc)
            raise
        logger.info("loaded the model %s in %.1f s", self._model.name, time.monotonic() - started_s)
        if (notice := notice_of(self._model.name)) is not None:
            logger.warning("%s Set SMELT_MODEL to use another one.", notice)
        return Transcriber(model, self._speech)


async def _already_loaded(transcriber: Transcriber) -> Transcriber:
    return transcriber
