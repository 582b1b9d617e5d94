"""The error responses of the Storage server.

As on the platform, most errors have the HTTP status 400; the actual status is `statusCode` in the body.
"""

from smelt.local.http import not_served_message
from smelt.pickling import PicklableError


class StorageError(PicklableError):
    """A request that gets an error response of the platform."""

    def __init__(self, status_code: int, error: str, code: str, message: str, *, http_status: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error = error
        self.code = code
        self.message = message
        self.http_status = http_status
        self.is_rolled_back = False
        """True if Postgres reported the error for a statement, so that nothing was committed."""

    def body(self) -> dict[str, str]:
        """Return the JSON body, with the keys in the platform's order."""
        return {
            "statusCode": str(self.status_code),
            "error": self.error,
            "message": self.message,
            "code": self.code,
        }


def invalid_request(message: str) -> StorageError:
    """The request does not match the route's schema."""
    return StorageError(400, "Error", "InvalidRequest", message)


def unreadable_body(message: str) -> StorageError:
    """The body does not match its Content-Type."""
    return StorageError(400, "FastifyError", "InvalidRequest", message)


def body_too_large() -> StorageError:
    """The JSON body or form field exceeds 1 MiB."""
    return StorageError(413, "FastifyError", "EntityTooLarge", "Request body is too large", http_status=413)


def access_denied(message: str = "new row violates row-level security policy") -> StorageError:
    """The caller's token or the policies do not allow it."""
    return StorageError(403, "Unauthorized", "AccessDenied", message)


def invalid_role() -> StorageError:
    """The route requires the service key."""
    return StorageError(403, "Unauthorized", "AccessDenied", "Access denied: Invalid role", http_status=403)


def no_such_key() -> StorageError:
    """The object does not exist, or policies hide it."""
    return StorageError(404, "not_found", "NoSuchKey", "Object not found")


def no_such_bucket() -> StorageError:
    """The bucket does not exist, or policies hide it."""
    return StorageError(404, "Bucket not found", "NoSuchBucket", "Bucket not found")


def already_exists(code: str) -> StorageError:
    """The name exists; `code` depends on the kind: a key, a bucket or a resource."""
    return StorageError(409, "Duplicate", code, "The resource already exists")


def related_resource_missing() -> StorageError:
    """The row refers to a bucket that does not exist."""
    return StorageError(404, "InvalidRequest", "InvalidRequest", "The related resource does not exist")


def too_large() -> StorageError:
    """The object exceeds the limit of the bucket or the server."""
    return StorageError(413, "Payload too large", "EntityTooLarge", "The object exceeded the maximum allowed size")


def mime_type_not_supported(mime_type: str) -> StorageError:
    """The bucket does not allow this media type, or it is not valid."""
    return StorageError(415, "invalid_mime_type", "InvalidMimeType", f"mime type {mime_type} is not supported")


def invalid_content_type() -> StorageError:
    """The Content-Type header is not valid."""
    return StorageError(415, "invalid_mime_type", "InvalidMimeType", "Invalid Content-Type header")


def invalid_key(key: str) -> StorageError:
    """The object's name contains characters or segments that are not allowed."""
    return StorageError(400, "InvalidKey", "InvalidKey", f"Invalid key: {key}")


def invalid_bucket_name() -> StorageError:
    """The bucket's name contains characters that are not allowed."""
    return StorageError(400, "Invalid Input", "InvalidBucketName", "Bucket name invalid")


def bucket_not_empty() -> StorageError:
    """Only an empty bucket can be deleted."""
    message = "The bucket you tried to delete is not empty"
    return StorageError(409, "ResourceNotEmpty", "ResourceNotEmpty", message)


def invalid_upload(message: str) -> StorageError:
    """The body of the upload is not valid."""
    return StorageError(400, "InvalidRequest", "InvalidRequest", message)


def invalid_robots_tag(message: str) -> StorageError:
    """The X-Robots-Tag header of the upload is not valid."""
    return StorageError(
        400, "invalid_x_robots_tag", "InvalidRequest", f"Invalid X-Robots-Tag header: Invalid X-Robots-Tag {message}"
    )


def invalid_signature(message: str = "Invalid signature") -> StorageError:
    """The token of the signed URL is for another path or scope."""
    return StorageError(400, "InvalidSignature", "InvalidSignature", message)


def invalid_url_token(message: str) -> StorageError:
    """The token of the signed URL is malformed, forged or expired."""
    return StorageError(400, "InvalidJWT", "InvalidJWT", message)


def invalid_parameter(name: str) -> StorageError:
    """A cursor from the client cannot be parsed."""
    return StorageError(400, "InvalidParameter", "InvalidParameter", f"Invalid Parameter {name}")


def invalid_range() -> StorageError:
    """The Range header does not select a part of the object."""
    return StorageError(416, "invalid_range", "InvalidRange", "invalid range provided", http_status=416)


def route_not_found(method: str, target: str) -> StorageError:
    """The route does not exist."""
    return StorageError(404, "Not Found", "InvalidRequest", f"Route {method}:{target} not found", http_status=404)


def database_error(sqlstate: str | None) -> StorageError:
    """Postgres failed for a reason other than the caller's request."""
    return StorageError(500, "DatabaseError", "DatabaseError", f"database error, code: {sqlstate}", http_status=500)


def internal_error() -> StorageError:
    """The server failed; the log has the reason."""
    return StorageError(500, "Internal", "InternalError", "Internal Server Error", http_status=500)


def disk_full() -> StorageError:
    """The disk has no space for the upload."""
    return StorageError(500, "Internal", "InternalError", "The disk is full", http_status=500)


def not_served(feature: str) -> StorageError:
    """The embedded stack does not implement this part of the platform."""
    return StorageError(404, "Not Found", "FeatureNotEnabled", not_served_message(f"{feature} is"), http_status=404)
