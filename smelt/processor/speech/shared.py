"""The model of a worker, in a child: loaded in the background, shared by all of its smelts, released when idle."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from uuid import UUID

from smelt.contract.options import SmeltOptions
from smelt.errors import SettingsError
from smelt.processor.children.process import ChildDied, Death
from smelt.processor.errors import ChildKilled, ChildUnusable, ModelError, ModelRestarted, ModelSuspended
from smelt.processor.media.recording import BYTES_PER_SECOND, SAMPLE_RATE, Recording
from smelt.processor.speech.breaker import CircuitBreaker
from smelt.processor.speech.calibration import Calibration
from smelt.processor.speech.checkpoint import START, Checkpoint
from smelt.processor.speech.demo_model_card import notice_of
from smelt.processor.speech.languages import Language
from smelt.processor.speech.loaded import NO_OPTIONS, LoadedModel
from smelt.processor.speech.requested import issue_of
from smelt.processor.speech.values import LoadedInfo, ModelOptions, Passage, SpeechOptions
from smelt.processor.speed import SpeedEstimate

if TYPE_CHECKING:
    from smelt.processor.options import WorkerOptions

logger = logging.getLogger(__name__)

_MAX_CHECK_STEP_S: Final = 600.0


class SharedModel:
    """A model that is loaded from `start` on; `acquire` waits for it and raises the error of a failed load.

    After `idle_s` without a user it is released, and loaded again for the next one. It transcribes several recordings
    at a time, in lanes. If its child dies while it computes windows of several, each of these recordings is transcribed
    alone from then on, window by window, so that its next death has one cause. A model that fails uses less memory from
    then on; if that is not possible, its child is ended, as if it had died of the recording. If it dies for a reason
    that is probably not the recording, the model is suspended until it has transcribed a known recording: everything
    that needs it raises `ModelSuspended` meanwhile.
    """

    def __init__(
        self,
        model: ModelOptions,
        speech: SpeechOptions,
        idle_s: float | None = None,
        *,
        speed: SpeedEstimate | None = None,
        breaker: CircuitBreaker | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._model = model
        self._calibration = calibration
        self._speech = speech
        self._idle_s = idle_s
        self.speed = speed or SpeedEstimate()
        self._breaker = breaker or CircuitBreaker()
        self._loaded: LoadedModel | None = None
        self._info: LoadedInfo | None = None
        self._loading: asyncio.Task[LoadedModel] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._resumed = asyncio.Event()
        self._failed: asyncio.Queue[SettingsError] = asyncio.Queue()
        self._user_count = 0
        self._release_timer: asyncio.TimerHandle | None = None
        self._suspects: set[UUID] = set()
        self._is_closing = False
        self.subscribe()

    @property
    def info(self) -> dict[str, str]:
        """The `model` that made a transcript, and a `notice` for its readers if the model has one."""
        notice = notice_of(self._model.name)
        return {"model": self._model.title} if notice is None else {"model": self._model.title, "notice": notice}

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which a smelt may request this model; one alone until it has been loaded."""
        return (self._model.title,) if self._info is None else self._info.names

    def issue_of(self, requested: SmeltOptions) -> str | None:
        """Return a sentence about the first option of a smelt that this model can't honor; None while unknown."""
        return None if self._info is None else issue_of(requested, self._model.title, self._info.languages)

    @property
    def options(self) -> ModelOptions:
        """The options with which the model is loaded."""
        return self._model

    @property
    def lanes(self) -> int:
        """The number of recordings that are transcribed at a time; 1 until the model has been loaded."""
        return 1 if self._info is None else self._info.lanes

    @property
    def is_ready(self) -> bool:
        """True if `acquire` returns the model at once."""
        return self._loaded is not None and self._loaded.is_ready and not self.is_suspended

    @property
    def is_suspended(self) -> bool:
        """True if the model has to transcribe a known recording before anything else."""
        return self._breaker.state != "closed"

    @property
    def pid(self) -> int | None:
        """The id of the process with the loaded model; None if there is none."""
        return None if self._loaded is None else self._loaded.pid

    def subscribe(
        self, *, on_suspended: Callable[[], None] = lambda: None, on_death: Callable[[Death], None] = lambda _: None
    ) -> None:
        """Call `on_death` for each death from now on, and `on_suspended` when a suspension begins and when it ends.

        `on_suspended` is called at once if the model is suspended already.
        """
        self._on_suspended, self._on_death = on_suspended, on_death
        if self.is_suspended:
            on_suspended()

    async def run_until_load_fails(self) -> None:
        """Load in the background; raises the `SettingsError` of this load or a later one, and never returns."""
        self.start()
        raise await self._failed.get()

    def start(self) -> asyncio.Task[LoadedModel]:
        """Start to load; the task fails with `SettingsError` if loading fails."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="load the model")
            # `run_until_load_fails` raises the error. Retrieve it here, in case no one awaits this task.
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._loading

    async def wait_usable(self, *, while_suspended: bool = True) -> None:
        """Load the model; raise the error of a failed load.

        While the model is suspended, wait, or raise `ModelSuspended`.
        """
        while True:
            try:
                await self._usable()
            except ModelSuspended:
                if not while_suspended:
                    raise
                await self._resumed.wait()
            else:
                return

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[LoadedModel]:
        """Return the loaded model, which stays loaded for the block unless its child dies."""
        self._user_count += 1
        self._cancel_release()
        try:
            yield await self._usable()
        finally:
            self._user_count -= 1
            self._release_when_idle()

    async def transcribe(
        self,
        smelt_id: UUID,
        recording: Recording,
        start: Checkpoint,
        *,
        main_language: str | None = None,
        requested: SmeltOptions = NO_OPTIONS,
    ) -> AsyncGenerator[Language | Passage, None]:
        """Transcribe a recording of a smelt from a checkpoint, by its options: yield its language, then its passages.

        Raises:
            ModelError: The model failed, for example for lack of memory, and uses less from now on.
            ChildDied: Its child died of the recording, or was ended because the model failed and can't use less memory.
            ChildKilled: Its child was killed, and not by this worker.
            ChildUnusable: The worker ends.
            ModelRestarted: Its child has ended, perhaps for another recording.
            ModelSuspended: Its child died, and that is probably not the fault of this recording.
        """
        async with self.acquire() as model:
            options = model.options
            items = model.transcribe(
                recording,
                start,
                max_step_s=self._max_step_s,
                smelt_id=smelt_id,
                is_alone=smelt_id in self._suspects,
                main_language=main_language,
                requested=requested,
            )
            try:
                try:
                    async with aclosing(items):
                        async for item in items:
                            yield item
                except ModelError as exc:
                    if await self._reduce_memory(model, options):
                        raise
                    # It is tried again alone: windows of others can have used the memory that was missing.
                    self._suspects.add(smelt_id)
                    await model.fail(smelt_id, exc)
            except ChildDied as exc:
                self._forget(model)
                self._raise_fault(exc, model.suspects, smelt_id)
            self._suspects.discard(smelt_id)
            self._breaker.on_success()

    def _raise_fault(self, exc: ChildDied, suspects: frozenset[UUID | None], smelt_id: UUID) -> NoReturn:
        """Raise the error of a smelt whose transcription ended because the child did."""
        if exc.death.killed_for == "ended":
            if self._is_closing:
                raise ChildUnusable("the worker has ended the model") from exc
            raise ModelRestarted("the model is loaded again") from exc
        if suspects != {smelt_id}:
            if smelt_id in suspects:
                self._suspects.add(smelt_id)
            raise ModelRestarted(str(exc)) from exc
        self._add_death(exc.death, None if exc.death.fault == "machine" else smelt_id)
        if exc.death.fault == "unknown":
            raise ChildKilled(str(exc)) from exc
        raise exc

    async def _reduce_memory(self, model: LoadedModel, failed: SpeechOptions) -> bool:
        """Use less memory than a model that failed with these options; return False if that is not possible.

        Halves the batch size, down to none, then picks a compute type with fewer bytes.
        """
        if model.options.batch_size < failed.batch_size:  # Another recording has failed before.
            return True
        if (options := self._speech.with_smaller_batch) is not None:
            self._speech = model.options = options
            return True
        compute_type = model.info.smaller_compute_type
        if compute_type is None:
            return False
        self._model = replace(self._model, compute_type=compute_type)
        # End it first: both do not fit into memory.
        await model.end()
        self._forget(model)
        return True

    async def aclose(self) -> None:
        """End the child, also one that is loading or transcribing, and all background work."""
        self._is_closing = True
        tasks = [task for task in (self._loading, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._cancel_release()
        if self._loaded is not None:
            await self._loaded.end()
        await asyncio.gather(*self._ending)

    async def _usable(self) -> LoadedModel:
        while True:
            if self.is_suspended:
                raise ModelSuspended("the model is suspended")
            model = await asyncio.shield(self.start())
            await model.wait_stopped()
            if model.is_alive:
                return model
            self._forget(model)

    def _cancel_release(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None

    def _release_when_idle(self) -> None:
        self._cancel_release()
        if self._idle_s is not None and not self._user_count:
            self._release_timer = asyncio.get_running_loop().call_later(self._idle_s, self._release)

    def _release(self) -> None:
        self._release_timer = None
        model = self._loaded
        if model is None:
            if self._loading is not None:
                self._release_when_idle()
            return
        self._forget(model)
        ending = asyncio.create_task(model.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        logger.info("released the model %s after %.0f s without work", self._model.name, self._idle_s)

    def _forget(self, model: LoadedModel) -> None:
        if self._loaded is model:
            self._loaded = self._loading = None

    async def _load(self) -> LoadedModel:
        try:
            self._loaded = await self._start_child()
        except ChildDied as exc:
            self._loading = None
            logger.warning("the model: %s", exc.death)
            self._on_death(exc.death)
            self._add_death(exc.death, None)
            raise
        return self._loaded

    async def _start_child(self) -> LoadedModel:
        try:
            model = await self._load_calibrated()
        except SettingsError as exc:
            self._failed.put_nowait(exc)
            raise
        self._info = model.info
        logger.info("loaded the model %s in %.1f s", self._model.name, model.load_s)
        if (notice := notice_of(self._model.name)) is not None:
            logger.warning("%s Set SMELT_MODEL to use another one.", notice)
        model.dying.add_done_callback(lambda dying: self._on_child_end(model, dying.result()))
        return model

    async def _load_calibrated(self) -> LoadedModel:
        """Load the model; first choose its threads and lanes, unless that has been done or it runs on a GPU."""
        calibration, self._calibration = self._calibration, None
        known = self._model if calibration is None else calibration.known(self._model)
        self._model = known or self._model
        model = await LoadedModel.load(self._model, self._speech)
        if known is not None or calibration is None or model.info.device != "cpu":
            return model
        await model.end()
        self._model = await calibration.measure(self._model)
        return await LoadedModel.load(self._model, self._speech)

    def _on_child_end(self, model: LoadedModel, death: Death) -> None:
        self._forget(model)
        if death.stage == "working" and death.killed_for != "ended":
            logger.warning("the model: %s", death)
            self._on_death(death)

    def _max_step_s(self, info: LoadedInfo, options: SpeechOptions) -> float:
        window_s = info.window_s * options.windows_per_step(info.lanes)
        return self.speed.max_step_s(span_s=options.max_span_s, window_s=window_s)

    def _add_death(self, death: Death, smelt_id: UUID | None) -> None:
        """Record a death; raise `ModelSuspended` if the model is suspended."""
        self._breaker.on_death(smelt_id)
        if not self.is_suspended:
            return
        if self._probing is None or self._probing.done():
            logger.error("the model is suspended: no recording is claimed before a test of it succeeds")
            self._resumed.clear()
            self._probing = asyncio.create_task(self._probe_until_usable(), name="test the model")
            self._on_suspended()
        raise ModelSuspended(str(death))

    async def _probe_until_usable(self) -> None:
        while self.is_suspended:
            logger.info("the model is tested in %.0f s", self._breaker.delay_s)
            await asyncio.sleep(self._breaker.delay_s)
            self._breaker.start_probe()
            try:
                await self._probe()
            except (ChildDied, ModelError, OSError) as exc:
                self._breaker.on_probe_failure()
                logger.warning("the test of the model failed: %s", exc)
            except SettingsError:  # It ends the worker.
                return
            else:
                self._breaker.on_success()
        logger.info("the test of the model succeeded")
        self._resumed.set()
        self._on_suspended()

    async def _probe(self) -> None:
        model = await self._start_child()
        try:
            await _transcribe_check_recording(model, self._max_step_s)
        except BaseException:
            await model.end()
            raise
        self._loaded = model
        self._loading = asyncio.create_task(_already_loaded(model))
        self._release_when_idle()


def create_model(options: "WorkerOptions") -> SharedModel:
    """Return the model of a worker with these options."""
    speech, calibration = options.speech_options, options.calibration
    return SharedModel(options.model_options, speech, options.model_idle_s, calibration=calibration)


async def check_model(
    model: ModelOptions, speech: SpeechOptions, calibration: Calibration | None = None
) -> tuple[LoadedInfo, float]:
    """Load a model and transcribe a known recording, as a worker does if it distrusts its model; end the model.

    Threads and lanes are those that a worker has measured before, if any.

    Returns the loaded model and the seconds to load it. Raises `SettingsError`, `ModelError`, or `ChildUnusable` if
    its child dies.
    """
    try:
        known = None if calibration is None else calibration.known(model)
        loaded = await LoadedModel.load(known or model, speech)
        try:
            await _transcribe_check_recording(loaded, lambda *_: _MAX_CHECK_STEP_S)
        finally:
            await loaded.end()
    except ChildDied as exc:
        raise ChildUnusable(str(exc)) from exc
    return loaded.info, loaded.load_s


async def _transcribe_check_recording(
    model: LoadedModel, max_step_s: Callable[[LoadedInfo, SpeechOptions], float]
) -> None:
    async with aclosing(model.transcribe(check_recording(), START, max_step_s=max_step_s)) as items:
        async for _ in items:
            pass


def check_recording() -> Recording:
    """Return the recording of two seconds with which a model is tested."""
    path = Path(str(resources.files("smelt.processor.speech") / "check.pcm"))
    return Recording(path, path.stat().st_size * SAMPLE_RATE // BYTES_PER_SECOND)


async def _already_loaded(model: LoadedModel) -> LoadedModel:
    return model
