"""How a worker works; values, never read from the environment here."""

from dataclasses import dataclass
from pathlib import Path

from smelt.processor.speech.model import ModelOptions
from smelt.processor.speech.transcriber import SpeechOptions


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Settings of one worker; names ending in `_s` are seconds.

    `batch_size` 0 transcribes one window after the other. With `model_idle_s` the model is released
    after so many seconds without a recording. `concurrency` is how many smelts are under way at once: one
    transcribes while the others download, decode or generate their output. Without `llm_base_url` the output is
    made by choosing sentences. With a `metrics_port`, 0 for any free one, Prometheus finds the metrics there.
    """

    worker_id: str
    model: str = "demo"
    device: str = "auto"
    compute_type: str = "default"
    batch_size: int = 0
    model_idle_s: float | None = None
    beam_size: int = 5
    word_times: bool = False
    concurrency: int = 2
    lease_s: int = 30
    drain_s: float = 25.0
    temp_dir: Path | None = None
    llm_base_url: str | None = None
    llm_api_key: str | None = None
    llm_model: str | None = None
    llm_context_tokens: int = 16_384
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None

    @property
    def model_options(self) -> ModelOptions:
        """What concerns loading the model."""
        return ModelOptions(name=self.model, device=self.device, compute_type=self.compute_type)

    @property
    def speech_options(self) -> SpeechOptions:
        """What concerns listening."""
        return SpeechOptions(batch_size=self.batch_size, beam_size=self.beam_size, word_times=self.word_times)
