"""The closed vocabularies of the contract: statuses, stages, codes, and their messages for people."""

from typing import Final, Literal, get_args

Status = Literal["pending", "validating", "decoding", "transcribing", "synthesizing", "completed", "failed"]
FileStatus = Literal["pending", "processing", "completed", "failed"]
Mode = Literal["separate", "combine"]
InputType = Literal["audio", "text"]
Task = Literal["transcribe", "translate"]
"""Write the language that is spoken, or English."""
Channels = Literal["mixed", "separate"]
"""Mix the channels of a recording into one, or transcribe each, as a speaker of its own."""
TranscriptFormat = Literal["txt", "srt", "vtt", "json"]
Outcome = Literal["complete", "partial"]
PromptName = Literal["summarize", "action_items", "detailed_notes", "qa_format", "table_of_contents"]
ErrorCode = Literal[
    "file_too_large",
    "invalid_format",
    "duration_exceeded",
    "corrupted_file",
    "decoding_failed",
    "transcription_failed",
    "synthesis_failed",
    "api_rate_limited",
    "api_quota_exhausted",
    "api_key_invalid",
    "connection_lost",
    "cancelled",
    "internal_error",
]
RejectionCode = Literal[
    "invalid_request",
    "invalid_options",
    "not_allowed",
    "no_input",
    "mixed_input",
    "too_many_files",
    "file_too_large",
    "invalid_format",
    "combine_requires_auth",
    "combine_requires_multiple",
    "prompt_not_found",
    "missing_upload",
    "audio_expired",
    "idempotency_conflict",
    "still_referenced",
    "too_many_open",
    "not_found",
    "speaker_not_found",
]

STAGES: Final[tuple[Status, ...]] = (
    "pending",
    "validating",
    "decoding",
    "transcribing",
    "synthesizing",
    "completed",
)
"""The statuses of a run in order; `failed` can follow any of them except `completed`."""

TERMINAL_STATUSES: Final[frozenset[Status]] = frozenset({"completed", "failed"})
OPEN_STATUSES: Final[frozenset[Status]] = frozenset(STAGES) - TERMINAL_STATUSES

PERCENT_RANGES: Final[dict[Status, tuple[float, float]]] = {
    "pending": (0.0, 0.0),
    "validating": (0.0, 10.0),
    "decoding": (10.0, 20.0),
    "transcribing": (20.0, 70.0),
    "synthesizing": (70.0, 100.0),
    "completed": (100.0, 100.0),
}
"""The range of percentages of each stage; a failed smelt keeps its last percentage."""

STAGE_MESSAGES: Final[dict[Status, str]] = {
    "pending": "Waiting to process...",
    "validating": "Validating files...",
    "decoding": "Decoding audio...",
    "transcribing": "Transcribing audio...",
    "synthesizing": "Generating output...",
    "completed": "Complete",
    "failed": "Processing failed",
}

MISSING_MODEL: Final = "No worker has the model "
"""The beginning of the message of a smelt in the queue whose model no live worker has; the name follows."""

ERROR_SENTENCES: Final[dict[ErrorCode, str]] = {
    "file_too_large": "The file is larger than allowed.",
    "invalid_format": "The file is not a recording that can be read.",
    "duration_exceeded": "The recording is longer than allowed.",
    "corrupted_file": "The file is damaged or empty.",
    "decoding_failed": "The audio in the file could not be decoded.",
    "transcription_failed": "The recording could not be transcribed.",
    "synthesis_failed": "The transcript is ready, but the output could not be generated.",
    "api_rate_limited": "The language model is busy; try again in a moment.",
    "api_quota_exhausted": "The quota of the language model is used up.",
    "api_key_invalid": "The key for the language model is not accepted.",
    "connection_lost": "The connection to a service was lost too often.",
    "cancelled": "The smelt was cancelled.",
    "internal_error": "Something went wrong on our side; the smelt can be retried.",
}
"""The sentence for people of each code, the same as in the SQL function `smelt.error_sentence`."""

MAX_VOCABULARY: Final = 100
"""The most words and names that a smelt may expect."""

DEFAULT_PROMPTS: Final[tuple[PromptName, ...]] = get_args(PromptName)
