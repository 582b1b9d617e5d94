"""The contract as one JSON Schema document."""

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from smelt.contract import vocabulary
from smelt.contract.batches import Batch, BatchEvent
from smelt.contract.events import EVENT_MODELS
from smelt.contract.lines import ConnectionLine, ErrorLine
from smelt.contract.rows import FileRow, Notification, SmeltRow, SmeltsDeleted
from smelt.contract.state import Created, Snapshot, Unchanged

Schema = dict[str, Any]

STATES: Final[tuple[type[BaseModel], ...]] = (Created, Snapshot, Unchanged, Batch, SmeltRow, FileRow)
"""What the functions for clients answer, and the rows that their owners read."""

CHANNELS: Final[dict[str, dict[str, type[BaseModel]]]] = {
    "SmeltEvents": {**EVENT_MODELS},
    "BatchEvents": {"progress": BatchEvent},
    "NotificationEvents": {"new_notification": Notification},
    "FeedEvents": {"smelts_deleted": SmeltsDeleted},
    "CommandEvents": {"created": Created, **EVENT_MODELS, "connection": ConnectionLine, "error": ErrorLine},
}
"""The events of each kind of channel by their names; `CommandEvents` are the lines of `smelt submit --watch --json`."""

VOCABULARY: Final = {
    "Status": vocabulary.Status,
    "FileStatus": vocabulary.FileStatus,
    "Mode": vocabulary.Mode,
    "InputType": vocabulary.InputType,
    "Outcome": vocabulary.Outcome,
    "PromptName": vocabulary.PromptName,
    "ErrorCode": vocabulary.ErrorCode,
    "RejectionCode": vocabulary.RejectionCode,
}

_MODE: Final[JsonSchemaMode] = "validation"
# Keys that an older sender may leave out are optional, as they are for smelt's own subscriber.


class _Untitled(GenerateJsonSchema):
    """Without the titles that repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> Literal[False]:
        """Never."""
        return False


def contract_schema() -> Schema:
    """The models and words of the contract under `$defs`; `SmeltEvents` and its like map event names to them."""
    events = [model for channel in CHANNELS.values() for model in channel.values()]
    _, document = models_json_schema([(model, _MODE) for model in (*events, *STATES)], schema_generator=_Untitled)
    definitions: Schema = {name: {"enum": list(get_args(word))} for name, word in VOCABULARY.items()}
    for name, definition in document["$defs"].items():
        definition.pop("title", None)
        definitions[name] = definition
    for name, channel in CHANNELS.items():
        definitions[name] = _by_event(name, channel)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The contract of smelt",
        "$defs": definitions,
    }


def _by_event(name: str, channel: dict[str, type[BaseModel]]) -> Schema:
    payloads = "The payloads of a channel by the names of its events."
    lines = "The lines of `smelt watch --json` and `smelt submit --watch --json` by their `event`."
    return {
        "type": "object",
        "description": lines if name == "CommandEvents" else payloads,
        "properties": {event: {"$ref": f"#/$defs/{model.__name__}"} for event, model in channel.items()},
    }
