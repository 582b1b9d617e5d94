"""Replays recorded requests of the platform's Storage server and compares the responses.

Values that differ between runs are matched, not ignored: each recorded id must map to one id throughout, and a token
must have the recorded claims. Times are compared by their format.
"""

import base64
import hmac
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import psycopg
from psycopg.rows import dict_row

RECORDINGS = Path(__file__).parent / "recordings" / "storage"
ALICE = "11111111-1111-4111-8111-111111111111"
BOB = "22222222-2222-4222-8222-222222222222"
PREFIX = "/storage/v1"
TIMEOUT_S = 10.0

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?P<fraction>\.\d+)?(?P<zone>Z|\+00:00)")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_TOKEN = re.compile(r"\{\{(TOKEN\d+)\}\}")
_UPLOAD_URL = re.compile(r"(.*/upload/resumable(?:/sign)?)/([\w-]+)")
_RECORDED_URL = "http://127.0.0.1:55500"
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
# Columns of the platform for versioned and archived objects, which this schema does not have.
_NEWER_COLUMNS = ("versioning_status", "archived_at", "is_delete_marker", "is_versioned")
_COMPARED_HEADERS = (
    *("accept-ranges", "cache-control", "content-disposition", "content-length", "content-range", "content-type"),
    *("etag", "expires", "last-modified", "x-robots-tag"),
    *("access-control-allow-methods", "access-control-max-age"),
    *("location", "tus-complete", "tus-extension", "tus-max-size", "tus-resumable", "tus-version"),
    *("upload-defer-length", "upload-length", "upload-metadata", "upload-offset"),
)


@dataclass
class Response:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def as_recorded(self) -> object:
        """Return the body in the format of the recordings: parsed JSON, text, or None if empty."""
        if not self.body:
            return None
        if self.headers.get("content-type", "").startswith("application/json"):
            return json.loads(self.body)
        return self.body.decode()


@dataclass
class Replay:
    """Replays the recordings in order against one server and database."""

    url: str
    jwt_secret: str
    database: psycopg.Connection[Any]
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.caller_tokens = _caller_tokens(self.jwt_secret)

    def play(
        self, name: str, before: Mapping[str, Callable[[], object]], excluded: Mapping[str, str]
    ) -> tuple[int, list[str]]:
        """Replay a recording; return the number of compared responses, and the differences."""
        recording = json.loads((RECORDINGS / f"{name}.json").read_text())
        self.tokens = {}
        compared, differences = 0, []
        for item in recording["items"]:
            label = item["label"]
            before.get(label, lambda: None)()
            if label in excluded:
                continue
            if "request" in item:
                found = self._compare_response(item, recording["tokens"])
            elif "rows" in item:
                found = self._compare_rows(item)
            else:
                continue
            compared += 1
            differences += [f"{label}: {difference}" for difference in found]
        return compared, differences

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: object, *, chunked: bool = False
    ) -> Response:
        """Send a request with its path unchanged; HTTP clients would normalize it."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=TIMEOUT_S)
        try:
            connection.putrequest(method, PREFIX + path, skip_accept_encoding=True)
            for header, value in headers.items():
                connection.putheader(header, value)
            payload, declared = _payload(body)
            if chunked:
                connection.putheader("transfer-encoding", "chunked")
            elif declared is not None:
                connection.putheader("content-length", str(declared))
            connection.endheaders()
            if chunked:
                half = len(payload) // 2
                for piece in (payload[:half], payload[half:]):
                    connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                connection.send(b"0\r\n\r\n")
            elif payload:
                connection.send(payload)
            response = connection.getresponse()
            names = {key.lower(): value for key, value in response.getheaders()}
            return Response(response.status, names, response.read())
        finally:
            connection.close()

    def _compare_response(self, item: dict[str, Any], tokens: Mapping[str, Any]) -> list[str]:
        request, expected = item["request"], item["response"]
        issued = set(_TOKEN.findall(json.dumps(expected["body"])))
        self._craft_tokens(request["path"] + json.dumps(request["headers"]), tokens, item["label"])
        headers = {key: self._fill(value) for key, value in request["headers"].items()}
        path, body, chunked = self._fill(request["path"]), request["body"], request.get("chunked", False)
        if isinstance(body, dict) and "cursor" in body:
            body = body | {"cursor": self.cursors.get(body["cursor"], body["cursor"])}
        actual = self.send(request["method"], path, headers, body, chunked=chunked)
        deadline = time.monotonic() + TIMEOUT_S
        while "after expiry" in item["label"] and actual.status == 200 and time.monotonic() < deadline:
            actual = self.send(request["method"], path, headers, body)
        found = [] if actual.status == expected["status"] else [f"status {actual.status}, not {expected['status']}"]
        found += self._compare(expected["body"], actual.as_recorded(), "body")
        for header in _COMPARED_HEADERS:
            recorded, sent = expected["headers"].get(header), actual.headers.get(header)
            if header == "cache-control" and not (recorded or "expires" in expected["headers"]):
                continue
            found += self._compare(recorded, sent, header)
        for token in issued:
            found += self._compare_claims(tokens[token], self.tokens.get(token, ""))
        return found

    def _compare_rows(self, item: dict[str, Any]) -> list[str]:
        query = item["db"].replace("%%", "%")
        for column in _NEWER_COLUMNS:
            query = query.replace(f",{column}", "")
        with self.database.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query).fetchall()
        actual = [{key: _plain(value) for key, value in row.items()} for row in rows]
        expected = [{key: value for key, value in row.items() if key not in _NEWER_COLUMNS} for row in item["rows"]]
        return self._compare(expected, actual, "rows")

    def _compare(self, expected: object, actual: object, where: str) -> list[str]:
        match expected, actual:
            case dict(), dict():
                missing = [f"{where}.{key} is missing" for key in expected if key not in actual]
                extra = [f"{where}.{key} is too much" for key in actual if key not in expected]
                both = [key for key in expected if key in actual]
                inner = [self._compare(expected[key], actual[key], f"{where}.{key}") for key in both]
                return [*missing, *extra, *chain.from_iterable(inner)]
            case list(), list():
                if len(expected) != len(actual):
                    return [f"{where} has {len(actual)} entries, not {len(expected)}: {actual}"]
                inner = [self._compare(old, new, f"{where}[]") for old, new in zip(expected, actual, strict=True)]
                return [*chain.from_iterable(inner)]
            case str(), str() if where.endswith(".nextCursor"):
                self.cursors[expected] = actual
                return self._compare(_decode(expected), _decode(actual), "cursor")
            case str(), str() if where == "location":
                return [] if self._same_upload(expected, actual) else [f"{where} is {actual!r}, not {expected!r}"]
            case str(), str():
                return [] if self._same_text(expected, actual) else [f"{where} is {actual!r}, not {expected!r}"]
            case _:
                return [] if expected == actual else [f"{where} is {actual!r}, not {expected!r}"]

    def _same_text(self, expected: str, actual: str) -> bool:
        names = _TOKEN.findall(expected)
        if names:
            found = _JWT.search(actual.rpartition("token=")[2])
            if found is None:
                return False
            self.tokens[names[0]] = found[0]
            return _TOKEN.sub("", expected) == actual.replace(found[0], "")
        expected = self._fill_uploads(expected)
        shape_of = {_shape(expected), _shape(actual)}
        if len(shape_of) > 1:
            return False
        return all(
            self._same_id(old, new) for old, new in zip(_UUID.findall(expected), _UUID.findall(actual), strict=True)
        )

    def _same_upload(self, expected: str, actual: str) -> bool:
        """Compare URLs of resumable uploads, whose ids contain the bucket, the key and a version."""
        old, new = (_UPLOAD_URL.fullmatch(url) for url in (expected, actual))
        if old is None or new is None or old[1].replace(_RECORDED_URL, self.url + PREFIX) != new[1]:
            return False
        self.uploads[old[2]] = new[2]
        return self._same_text(_decode_url(old[2]), _decode_url(new[2]))

    def _same_id(self, old: str, new: str) -> bool:
        if old in (ALICE, BOB):
            return old == new
        if old not in self.ids:
            if new in self._taken:
                return False
            self.ids[old] = new
            self._taken.add(new)
        return self.ids[old] == new

    def _compare_claims(self, recorded: Mapping[str, Any], token: str) -> list[str]:
        if not token:
            return ["no token was issued"]
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        lifetime = {"lifetime": claims.pop("exp") - claims.pop("iat")}
        expected = {name: value for name, value in recorded["claims"].items() if name not in ("iat", "exp")}
        lived = recorded["claims"]["exp"] - recorded["claims"]["iat"]
        same_header = self._compare(recorded["header"], header, "token header")
        return same_header + self._compare(expected | {"lifetime": lived}, claims | lifetime, "token claims")

    def _craft_tokens(self, text: str, tokens: Mapping[str, Any], label: str) -> None:
        """Create the tokens that were made by hand for the recording, unless they exist."""
        for name in _TOKEN.findall(text):
            if name in self.tokens:
                continue
            claims, recorded = dict(tokens[name]["claims"]), tokens[name]["claims"]
            now = int(time.time())
            claims["iat"] = now
            if "exp" in recorded:
                claims["exp"] = now + recorded["exp"] - recorded["iat"]
            secret = "x" * 64 if "forged" in label else self.jwt_secret
            self.tokens[name] = _sign(claims, tokens[name]["header"]["alg"], secret)

    def _fill(self, text: str) -> str:
        for name, value in (self.caller_tokens | self.tokens).items():
            text = text.replace(f"{{{{{name}}}}}", value)
        return self._fill_uploads(text)

    def _fill_uploads(self, text: str) -> str:
        for recorded, actual in self.uploads.items():
            text = text.replace(recorded, actual)
        return text


def _sign(claims: Mapping[str, Any], algorithm: str, secret: str) -> str:
    """Sign without PyJWT, which warns about keys that are short for an algorithm."""
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    digest = {"none": None, "HS256": "sha256", "HS512": "sha512"}[algorithm]
    signature = b"" if digest is None else hmac.digest(secret.encode(), signed, digest)
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def _caller_tokens(secret: str) -> dict[str, str]:
    def token(key: str = secret, lifetime_s: int = 3600, **claims: object) -> str:
        now = int(time.time())
        return jwt.encode({"iat": now, "exp": now + lifetime_s, **claims}, key, algorithm="HS256")

    return {
        "SERVICE": token(role="service_role"),
        "ANON": token(role="anon"),
        "ALICE": token(role="authenticated", sub=ALICE),
        "BOB": token(role="authenticated", sub=BOB),
        "NOROLE": token(),
        "BADROLE": token(role="nobody_of_that_name"),
        "EXPIRED": token(role="authenticated", sub=ALICE, lifetime_s=-10),
        "FORGED": token("x" * 64, role="authenticated", sub=ALICE),
        "GARBAGE": "not.a.jwt",
    }


def _payload(body: object) -> tuple[bytes, int | None]:
    """Return the bytes of a body, and the length to declare; a huge body is only declared."""
    match body:
        case None:
            return b"", 0
        case {"bytes": int(size), "sha256": str()} if size > 10_000_000:
            return b"", size
        case {"bytes": int(size), "sha256": str()}:
            return b'{"prefix": "' + b"x" * (size - 14) + b'"}', size
        case str():
            return body.encode(), len(body.encode())
        case _:
            encoded = json.dumps(body).encode()
            return encoded, len(encoded)


def _shape(text: str) -> str:
    """Replace ids and times by their format."""
    text = _TIME.sub(lambda match: f"<time {len(match['fraction'] or '') == 4} {match['zone']}>", text)
    return _HTTP_DATE.sub("<date>", _UUID.sub(lambda match: match[0] if match[0] in (ALICE, BOB) else "<id>", text))


def _decode(cursor: str) -> str:
    return base64.b64decode(cursor).decode()


def _decode_url(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float() | str() | list() | dict():
            return value
        case _:
            return str(value)
