"""The contract as one JSON Schema document."""

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from smelt.contract import vocabulary
from smelt.contract.batches import Batch, BatchEvent
from smelt.contract.events import EVENT_MODELS
from smelt.contract.lines import ConnectionLine, ErrorLine, ProgressLine
from smelt.contract.rows import FileRow, Notification, SmeltRow, SmeltsDeleted
from smelt.contract.state import Created, Snapshot, Unchanged
from smelt.contract.webhooks import BatchWebhook, SmeltWebhook, Webhook, WebhookTest

Schema = dict[str, Any]

STATES: Final[tuple[type[BaseModel], ...]] = (Created, Snapshot, Unchanged, Batch, SmeltRow, FileRow, Webhook)
"""Results of the functions for clients, and rows that owners can read."""

CHANNELS: Final[dict[str, dict[str, type[BaseModel]]]] = {
    "SmeltEvents": {**EVENT_MODELS},
    "BatchEvents": {"progress": BatchEvent},
    "NotificationEvents": {"new_notification": Notification},
    "FeedEvents": {"smelts_deleted": SmeltsDeleted},
    "WebhookEvents": {
        "smelt.completed": SmeltWebhook,
        "smelt.failed": SmeltWebhook,
        "batch.completed": BatchWebhook,
        "webhook.test": WebhookTest,
    },
    "CommandEvents": {
        "created": Created,
        **EVENT_MODELS,
        "progress": ProgressLine,
        "connection": ConnectionLine,
        "error": ErrorLine,
    },
}
"""Event names and models of each kind of channel.

`WebhookEvents` are the bodies of webhooks, `CommandEvents` the lines of `smelt submit --watch --json`.
"""

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
# In this mode, fields that an older sender may omit are optional, as they are for smelt's own subscriber.


class _Untitled(GenerateJsonSchema):
    """Generates a schema without titles, which would only repeat the field names."""

    def field_title_should_be_set(self, schema: Any) -> Literal[False]:
        """Return False for all fields."""
        return False


def contract_schema() -> Schema:
    """Return the models and enumerations of the contract under `$defs`; `SmeltEvents` etc. map event names to them."""
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
    others = {
        "WebhookEvents": "The bodies of the requests of webhooks by their `type`.",
        "CommandEvents": "The lines of `smelt watch --json` and `smelt submit --watch --json` by their `event`.",
    }
    return {
        "type": "object",
        "description": others.get(name, "The payloads of a channel by the names of its events."),
        "properties": {event: {"$ref": f"#/$defs/{model.__name__}"} for event, model in channel.items()},
    }
