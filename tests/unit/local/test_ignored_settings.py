"""Settings of `config.toml` that the embedded stack does not follow."""

import tomllib

import pytest

from smelt.distribution import supabase_folder
from smelt.local.ignored_settings import ignored_settings


@pytest.mark.parametrize(
    ("config", "ignored"),
    [
        ('project_id = "x"\n[studio]\nport = 1\n[inbucket]\nport = 2\n[analytics]\nbackend = "postgres"', []),
        ("[api]\nport = 1\nmax_rows = 5\nenabled = true\n[api.tls]\nenabled = false", []),
        ("[api]\nenabled = false\nauto_expose_new_tables = false", ["api.auto_expose_new_tables", "api.enabled"]),
        ("[api.tls]\nenabled = true", ["api.tls.enabled"]),
        ('[auth.external.google]\nenabled = false\nclient_id = "x"', []),
        ('[auth.external.google]\nenabled = true\nclient_id = "x"', ["auth.external.google"]),
        ('[auth.hook.custom_access_token]\nenabled = true\nuri = "pg-functions://postgres/public/f"', []),
        ('[auth.hook.custom_access_token]\nenabled = true\nuri = "https://x/y"', ["auth.hook.custom_access_token"]),
        ('[auth.hook.send_email]\nenabled = true\nuri = "pg-functions://postgres/public/f"', ["auth.hook.send_email"]),
        ("[auth.mfa]\nmax_enrolled_factors = 10\n[auth.mfa.totp]\nenroll_enabled = true\nverify_enabled = false",
         ["auth.mfa.totp.enroll_enabled"]),
        ('[auth.sessions]\ntimebox = "24h"', ["auth.sessions.timebox"]),
        ("[auth]\nenable_refresh_token_rotation = false", ["auth.enable_refresh_token_rotation"]),
        ("[auth]\nenable_refresh_token_rotation = true\nrefresh_token_reuse_interval = 0", []),
        ("[functions.hello]\nverify_jwt = true\n[functions.off]\nenabled = false", ["functions.hello"]),
        ('[storage.buckets.a]\npublic = true\nobjects_path = "./x"', ["storage.buckets.a.objects_path"]),
        ('[db.migrations]\nschema_paths = ["./schemas/*.sql"]', ["db.migrations.schema_paths"]),
        ('[db.migrations]\nenabled = true\nschema_paths = []\n[db.vault]\nkey = "env(X)"', ["db.vault.key"]),
        ("[of_the_future]\nsetting = 1", ["of_the_future.setting"]),
    ],
)  # fmt: skip
def test_ignored_settings_are_those_with_an_effect(config: str, ignored: list[str]) -> None:
    assert list(ignored_settings(tomllib.loads(config))) == ignored


def test_ignored_settings_of_the_template_of_the_supabase_cli_are_none() -> None:
    """smelt's own file is the template with a few changes."""
    assert ignored_settings(tomllib.loads((supabase_folder() / "config.toml").read_text())) == ()
