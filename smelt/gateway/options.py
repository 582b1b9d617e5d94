"""The options of a gateway."""

from dataclasses import dataclass, field
from typing import Final

from fastapi import Request

from smelt.transcripts.captions import CaptionLayout

MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """The options of a gateway; times are in seconds.

    Attributes:
        url: The URL of the Supabase project.
        public_url: Its URL for browsers, which may be on another network than the gateway; None if it is the same.
        key: Its publishable or anon key.
        secret_key: Its secret or service-role key, with which read-only tokens are served; None without these tokens.
        signing_keys: Keys of read-only tokens: the first signs, all verify.
        allowed_origins: Origins of pages whose scripts may call the gateway; `*` allows all.
        trusted_proxies: Addresses of proxies whose `X-Forwarded-For` counts; `*` trusts all.
        max_upload_bytes: The largest body of a request with files.
        max_uploads: The number of requests with files at a time; an eighth of it for one caller.
        max_streams: The number of event streams at a time.
        max_streams_per_caller: The number of event streams of one caller at a time.
        openai_wait_s: The longest time for which a request of OpenAI's audio API waits for its transcript.
        drain_s: Time for running requests to finish once the gateway stops.
        caption_layout: The layout of downloaded captions.
    """

    url: str
    public_url: str | None = None
    key: str
    secret_key: str | None = None
    signing_keys: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_upload_bytes: int = 2501 * MIB
    max_uploads: int = 64
    max_streams: int = 1000
    max_streams_per_caller: int = 20
    openai_wait_s: float = 300.0
    drain_s: float = 25.0
    caption_layout: CaptionLayout = field(default_factory=CaptionLayout)


def current_options(request: Request) -> GatewayOptions:
    """Return the options of the running application."""
    options: GatewayOptions = request.app.state.options
    return options
