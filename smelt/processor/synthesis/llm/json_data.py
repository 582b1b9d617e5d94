"""Encodes a transcript as data in a message to a language model. Pure.

It is a JSON string, which its content can't end. Nor can the content contain a control token at which a server ends a
message and starts another one (`<|im_end|>`, `</s>`, `[INST]`): many servers parse these in all text.
"""

import json
import re
from typing import Final

# The first character of a control token; in JSON itself, no capital follows a bracket.
_CONTROL_TOKEN_START: Final = re.compile(r"<|\[(?=/?[A-Z_]+\])")


def as_json(data: object) -> str:
    """Encode data as JSON without control tokens."""
    return _CONTROL_TOKEN_START.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(data, ensure_ascii=False))


def size_bytes(text: str) -> int:
    """Return the size of a text as data."""
    return len(as_json(text).encode()) - 2
