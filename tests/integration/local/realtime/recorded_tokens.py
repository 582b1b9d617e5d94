"""Restores the parts that recordings omit: keys and tokens behind placeholders, and shortened bodies."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from smelt.local.keys import Keys
from tests.integration.local.realtime.realtime_server import USER_A, USER_B, Reachable

_PLACEHOLDER = re.compile(r"<([A-Z][A-Za-z0-9_]*)>")
_LIFE = re.compile(r"(EXPIRED|EXPIRES_IN)_(\d+)s")
_CUT_BODY = re.compile(r"\.\.\.\((\d+) bytes\)$")


@dataclass
class RecordedTokens:
    """The tokens of the server under test, one for each placeholder."""

    server: Reachable
    _tokens: dict[str, str] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """Replace the placeholders by tokens."""
        return _PLACEHOLDER.sub(lambda found: self._token(found[1]), text)

    def _token(self, name: str) -> str:
        if name not in self._tokens:
            self._tokens[name] = self._mint(name)
        return self._tokens[name]

    def _mint(self, name: str) -> str:
        server, life = self.server, _LIFE.search(name)
        lifetime_s = (int(life[2]) if life[1] == "EXPIRES_IN" else -int(life[2])) if life else 3600
        match name.split("_"):
            case ["ANON", "KEY"]:
                return server.keys.anon_key
            case ["SERVICE", "KEY"]:
                return server.keys.service_role_key
            case ["ANON", *_]:
                return server.token(role="anon", lifetime_s=lifetime_s)
            case ["JWT", "BAD", *_]:
                return Keys(jwt_secret="another secret, which is long enough to be one").sign(
                    {"role": "anon", "exp": 2**33}
                )
            case ["JWT", "NO", "EXP"]:
                return server.keys.sign({"role": "authenticated", "sub": USER_A})
            case ["JWT", "NO", "ROLE"]:
                return server.keys.sign({"exp": 2**33})
            case ["JWT", "UNKNOWN" | "ROLE", *_]:
                return server.token(role="nosuchrole")
            case ["JWT", "USER", "B", *_]:
                return server.token(USER_B, nonce=name)
            case _:
                return server.token(USER_A, lifetime_s=lifetime_s, nonce=name)


def restore_body(body: Any) -> bytes | None:
    """Return the body of a recorded request."""
    if body is None:
        return None
    if not isinstance(body, str):
        return json.dumps(body).encode()
    if cut := _CUT_BODY.search(body):
        if "nobody" in body:
            messages = [{"topic": "nobody", "event": "ev", "payload": {"n": n}} for n in range(150)]
            return json.dumps({"messages": messages}).encode()
        head = body[: body.index("aaaa")].encode()
        tail = b'"}}]}'
        return head + b"a" * (int(cut[1]) - len(head) - len(tail)) + tail
    return body.encode()
