"""What the Storage server answers when it says no.

Nearly every refusal travels as HTTP 400; the status that it means is in the body, as `statusCode`.
"""

from smelt.pickling import PicklableError


class StorageError(PicklableError):
    """A request that is answered with an error body of the platform."""

    def __init__(self, status_code: int, error: str, code: str, message: str, *, http_status: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error = error
        self.code = code
        self.message = message
        self.http_status = http_status

    def body(self) -> dict[str, str]:
        """Answer the JSON body, in the order of the platform's keys."""
        return {
            "statusCode": str(self.status_code),
            "error": self.error,
            "message": self.message,
            "code": self.code,
        }


def invalid_request(message: str) -> StorageError:
    """The request does not fit the route's schema."""
    return StorageError(400, "Error", "InvalidRequest", message)


def unreadable_body(message: str) -> StorageError:
    """The body is not the JSON that it claims to be."""
    return StorageError(400, "FastifyError", "InvalidRequest", message)


def body_too_large() -> StorageError:
    """A JSON body over 1 MiB."""
    return StorageError(413, "FastifyError", "EntityTooLarge", "Request body is too large", http_status=413)


def access_denied(message: str = "new row violates row-level security policy") -> StorageError:
    """The caller's token or the policies do not allow it."""
    return StorageError(403, "Unauthorized", "AccessDenied", message)


def invalid_role() -> StorageError:
    """A route for the service key alone."""
    return StorageError(403, "Unauthorized", "AccessDenied", "Access denied: Invalid role", http_status=403)


def no_such_key() -> StorageError:
    """The object does not exist, or the policies hide it."""
    return StorageError(404, "not_found", "NoSuchKey", "Object not found")


def no_such_bucket() -> StorageError:
    """The bucket does not exist, or is not the caller's to see."""
    return StorageError(404, "Bucket not found", "NoSuchBucket", "Bucket not found")


def already_exists(code: str) -> StorageError:
    """Something of that name is there; `code` tells what: a key, a bucket, a resource."""
    return StorageError(409, "Duplicate", code, "The resource already exists")


def related_resource_missing() -> StorageError:
    """The row refers to a bucket that does not exist."""
    return StorageError(404, "InvalidRequest", "InvalidRequest", "The related resource does not exist")


def too_large() -> StorageError:
    """More bytes than the bucket or the server takes."""
    return StorageError(413, "Payload too large", "EntityTooLarge", "The object exceeded the maximum allowed size")


def mime_type_not_supported(mime_type: str) -> StorageError:
    """The bucket does not take this type, or it is none."""
    return StorageError(415, "invalid_mime_type", "InvalidMimeType", f"mime type {mime_type} is not supported")


def invalid_content_type() -> StorageError:
    """The Content-Type header can't be parsed."""
    return StorageError(415, "invalid_mime_type", "InvalidMimeType", "Invalid Content-Type header")


def invalid_key(what: str) -> StorageError:
    """The object's name has characters or segments that are not allowed."""
    return StorageError(400, "InvalidKey", "InvalidKey", f"Invalid key: {what}")


def invalid_bucket_name() -> StorageError:
    """The bucket's name has characters that are not allowed."""
    return StorageError(400, "Invalid Input", "InvalidBucketName", "Bucket name invalid")


def bucket_not_empty() -> StorageError:
    """Only an empty bucket can be deleted."""
    message = "The bucket you tried to delete is not empty"
    return StorageError(409, "ResourceNotEmpty", "ResourceNotEmpty", message)


def invalid_upload(message: str) -> StorageError:
    """The body of an upload can't be used."""
    return StorageError(400, "InvalidRequest", "InvalidRequest", message)


def invalid_robots_tag(message: str) -> StorageError:
    """The X-Robots-Tag of an upload is none."""
    return StorageError(
        400, "invalid_x_robots_tag", "InvalidRequest", f"Invalid X-Robots-Tag header: Invalid X-Robots-Tag {message}"
    )


def invalid_signature(message: str = "Invalid signature") -> StorageError:
    """A signed URL whose token is for something else."""
    return StorageError(400, "InvalidSignature", "InvalidSignature", message)


def invalid_url_token(message: str) -> StorageError:
    """A signed URL whose token is forged, expired or no token."""
    return StorageError(400, "InvalidJWT", "InvalidJWT", message)


def invalid_parameter(name: str) -> StorageError:
    """A parameter that the server made and can't read back."""
    return StorageError(400, "InvalidParameter", "InvalidParameter", f"Invalid Parameter {name}")


def invalid_range() -> StorageError:
    """A Range header that names no part of the object."""
    return StorageError(416, "invalid_range", "InvalidRange", "invalid range provided", http_status=416)


def route_not_found(method: str, target: str) -> StorageError:
    """There is no such route."""
    return StorageError(404, "Not Found", "InvalidRequest", f"Route {method}:{target} not found", http_status=404)


def database_error(sqlstate: str | None) -> StorageError:
    """Postgres refused for a reason that is not the caller's."""
    return StorageError(500, "DatabaseError", "DatabaseError", f"database error, code: {sqlstate}", http_status=500)


def internal_error() -> StorageError:
    """The server failed; what it knows about it is in its log."""
    return StorageError(500, "Internal", "InternalError", "Internal Server Error", http_status=500)


def disk_full() -> StorageError:
    """There is no room for the bytes."""
    return StorageError(500, "Internal", "InternalError", "The disk is full", http_status=500)


def not_served(what: str) -> StorageError:
    """A part of the platform that the embedded stack leaves out."""
    message = f"{what} is not part of the embedded stack; `supabase start` has it."
    return StorageError(501, "Not Implemented", "NotImplemented", message, http_status=501)
