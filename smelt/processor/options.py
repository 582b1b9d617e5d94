"""The options of a worker, as values; nothing here reads the environment."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

from smelt.processor.speech.calibration import MAX_LANES, Calibration
from smelt.processor.speech.values import ModelOptions, SpeechOptions


@dataclass(frozen=True, kw_only=True)
class DispatchOptions:
    """Options for dispatching smelts to an external service.

    Attributes:
        url: The address that jobs are posted to.
        token: The bearer token for it.
        lease_s: Seconds in which the service has to call back.
        models: The names of the models that the service has.
        gateway_url: The address at which the service reaches the gateway.
        signing_keys: Those of the gateway.
    """

    url: str
    token: str | None = None
    lease_s: int = 120
    models: tuple[str, ...] = ()
    gateway_url: str
    signing_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Options of one worker; names that end in `_s` are in seconds.

    The model transcribes `model_lanes` recordings at a time, or windows of one, each with `cpu_threads`; what is None
    is measured. `batch_size` 0 transcribes each window by itself. After `model_idle_s` without a recording, the model
    is released.
    With `speaker_model`, an ONNX file, the worker identifies speakers on request.
    `concurrency` is the number of smelts in progress: some transcribe while the others download, decode or synthesize;
    None is one more than the lanes of the model.
    Without `llm_base_url`, outputs are extractive. `metrics_port` serves Prometheus metrics, on any free port for 0.
    `host` names the machine: the worker of another host tries a smelt whose worker stopped. With `dispatch`, an
    external service transcribes, and no model is loaded. `webhook_allow_private` allows webhooks to any address, and
    over HTTP.
    """

    worker_id: str
    host: str = field(default_factory=socket.gethostname)
    model: str = "demo"
    device: str = "auto"
    compute_type: str = "default"
    cpu_threads: int | None = None
    model_lanes: int | None = None
    batch_size: int = 0
    model_idle_s: float | None = None
    beam_size: int = 5
    word_times: bool = False
    speaker_model: Path | None = None
    concurrency: int | None = None
    lease_s: int = 30
    drain_s: float = 25.0
    temp_dir: Path | None = None
    llm_base_url: str | None = None
    llm_api_key: str | None = None
    llm_model: str | None = None
    llm_context_tokens: int = 16_384
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    webhook_allow_private: bool = False
    dispatch: DispatchOptions | None = None

    @property
    def model_options(self) -> ModelOptions:
        """The options for loading the model."""
        return ModelOptions(name=self.model, device=self.device, compute_type=self.compute_type)

    @property
    def calibration(self) -> Calibration:
        """The threads and lanes of the model, and what is to be measured of them."""
        max_lanes = min(MAX_LANES, self.concurrency or MAX_LANES)
        return Calibration(cpu_threads=self.cpu_threads, lanes=self.model_lanes, max_lanes=max_lanes)

    @property
    def speech_options(self) -> SpeechOptions:
        """The options for transcribing."""
        return SpeechOptions(batch_size=self.batch_size, beam_size=self.beam_size, word_times=self.word_times)
