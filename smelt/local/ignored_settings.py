"""Lists the settings of a project's `config.toml` that the embedded stack does not follow and that have an effect.

A setting has none if it is off, equals the CLI's default, or concerns services that only the CLI starts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_FOLLOWED: Final = (
    r"api\.(port|schemas|extra_search_path|max_rows|max_body_size|allowed_origins|allowed_hosts)",
    r"db\.port",
    r"db\.seed\..*",
    r"storage\.file_size_limit",
    r"storage\.buckets\.[^.]+\.(public|file_size_limit|allowed_mime_types)",
    r"auth\.(enable_signup|enable_anonymous_sign_ins|minimum_password_length|password_requirements|jwt_expiry)",
    r"auth\.(site_url|additional_redirect_urls|opaque_key_jwt_expiry|refresh_token_reuse_interval)",
    r"auth\.email\.(enable_signup|enabled|enable_confirmations|otp_length|otp_expiry)",
    r"auth\.hook\.custom_access_token\.(enabled|uri)",
    r"realtime\.(max_events_per_second|max_joins_per_second)",
)
_WITHOUT_EFFECT: Final = (
    r"project_id",
    r"(studio|local_smtp|inbucket|analytics|experimental|remotes)\..*",
    r"edge_runtime\.(enabled|policy|inspector_port|deno_version)",
    r"db\.(shadow_port|health_timeout|major_version|root_key)",
    r"db\.(pooler|network_restrictions|ssl_enforcement)\..*",
    r"realtime\.(ip_version|max_header_length)",
    r"storage\.(analytics|vector|s3_protocol)\..*",
    r"auth\.(external_url|jwt_issuer)",
    r"auth\.rate_limit\..*",
    r"auth\.webauthn\..*",
    r"auth\.email\.(double_confirm_changes|max_frequency)",
    r"auth\.sms\.(template|max_frequency|test_otp\..*)",
    r"auth\.mfa\.max_enrolled_factors",
    r"auth\.mfa\.phone\.(otp_length|template|max_frequency)",
)
_KNOWN: Final = re.compile("|".join(f"(?:{pattern})" for pattern in (*_FOLLOWED, *_WITHOUT_EFFECT)))
# Only turning these off has an effect.
_ON_BY_DEFAULT: Final = re.compile(
    r"(api|auth|realtime|storage|db\.migrations)\.enabled|api\.auto_expose_new_tables|auth\.enable_refresh_token_rotation"
)
# Only hooks that are functions in the database are called.
_DATABASE_HOOK: Final = "pg-functions://"


def ignored_settings(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the settings that are not followed; of a section that is switched on, only its name."""
    return tuple(dict.fromkeys(sorted(_ignored(settings))))


def _ignored(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    hook = str(settings.get("uri", _DATABASE_HOOK))
    if _is_switchable(prefix) and settings.get("enabled") is not False:
        if prefix != "auth.hook.custom_access_token." or not hook.startswith(_DATABASE_HOOK):
            yield prefix.removesuffix(".")
        return
    if prefix and settings.get("enabled") is False and not _ON_BY_DEFAULT.fullmatch(f"{prefix}enabled"):
        return
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _ignored(value, f"{path}.")
        elif _ON_BY_DEFAULT.fullmatch(path):
            if value is False:
                yield path
        elif value not in (False, "", []) and not _KNOWN.fullmatch(path):
            yield path


def _is_switchable(prefix: str) -> bool:
    """Return True for a section with one feature, such as a provider; its name is enough."""
    return (
        re.fullmatch(r"functions\.[^.]+\.|auth\.(external|hook|third_party|web3)\.[^.]+\.|auth\.passkey\.", prefix)
        is not None
    )
