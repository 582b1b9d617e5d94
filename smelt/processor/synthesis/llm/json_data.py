"""What was said, as data in a message to a language model. Pure.

It is a string of JSON: whatever was said in it, it can't end the string. Nor can it be a sign by which a server knows
that a message ends and another one begins (`<|im_end|>`, `</s>`, `[INST]`): many look for these in all text.
"""

import json
import re
from typing import Final

# The first letter of such a sign; behind a bracket of JSON itself there is never a letter.
_SIGN: Final = re.compile(r"<|\[(?=/?[A-Z_]+\])")


def as_json(data: object) -> str:
    """Data as JSON."""
    return _SIGN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(data, ensure_ascii=False))


def size_bytes(text: str) -> int:
    """How much room a text takes as data."""
    return len(as_json(text).encode()) - 2
