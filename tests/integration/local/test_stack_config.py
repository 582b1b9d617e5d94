"""The settings that an embedded stack reads from a `supabase/` folder, and its keys."""

import time
from pathlib import Path

import jwt
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from smelt.local import LocalCluster, LocalPermanentError, LocalStack
from smelt.local.keys import Keys
from smelt.local.project import PASSWORD_CHARACTERS, AuthRules, Bucket, ProjectFiles, RealtimeLimits
from tests.harness.stacks import running
from tests.integration.local.stack_projects import write_project

# `supabase start` prints these keys on every machine.
ANON_KEY = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJpc3MiOiJzdXBhYmFzZS1kZW1vIiwicm9sZSI6ImFub24iLCJleHAiOjE5ODM4MTI5OTZ9."
    "CRXP1A7WOeoJeXxjNni43kdQwgnWNReilDMblYTn_I0"
)


def test_default_keys_equal_those_of_the_supabase_cli() -> None:
    keys = Keys()
    assert keys.anon_key == ANON_KEY
    assert keys.resolve_api_key(keys.secret_key)["role"] == "service_role"
    with pytest.raises(jwt.InvalidSignatureError):
        Keys(jwt_secret="another secret with at least 32 characters").verify(ANON_KEY)
    with pytest.raises(jwt.InvalidTokenError):
        keys.resolve_api_key("sb_publishable_of_another_project")


def test_opaque_key_is_replaced_by_a_new_token_that_expires() -> None:
    keys = Keys(opaque_key_lifetime_s=20)
    before_s = int(time.time())
    for key, role in ((keys.publishable_key, "anon"), (keys.secret_key, "service_role")):
        claims = keys.resolve_api_key(key)
        assert claims["role"] == role
        assert before_s + 20 <= claims["exp"] <= time.time() + 20
    assert keys.to_token(keys.anon_key) == keys.anon_key == ANON_KEY


def test_config_toml_settings_are_read(tmp_path: Path) -> None:
    config = """
    [api]
    schemas = ["public", "other"]
    max_rows = 7
    max_body_size = "2MiB"
    [storage]
    file_size_limit = "51MiB"
    [storage.buckets.avatars]
    public = true
    file_size_limit = "5MiB"
    allowed_mime_types = ["image/png"]
    [storage.buckets.files]
    [auth]
    site_url = "https://app.example"
    additional_redirect_urls = ["https://other.example"]
    password_requirements = "letters_digits"
    refresh_token_reuse_interval = 0
    jwt_expiry = 60
    opaque_key_jwt_expiry = 20
    enable_signup = false
    enable_anonymous_sign_ins = true
    minimum_password_length = 8
    [auth.email]
    enable_signup = false
    enable_confirmations = true
    otp_length = 8
    otp_expiry = 60
    [auth.hook.custom_access_token]
    enabled = true
    uri = "pg-functions://postgres/public/claims"
    [auth.external.google]
    enabled = true
    [realtime]
    max_events_per_second = 2500
    """
    project = ProjectFiles.read(write_project(tmp_path / "supabase", config=config))
    assert (project.schemas, project.max_rows) == (("public", "other"), 7)
    assert (project.file_size_limit, project.max_body_bytes) == (51 * 1024**2, 2 * 1024**2)
    assert project.auth == AuthRules(
        allows_sign_up=False,
        allows_anonymous=True,
        allows_email=False,
        confirms_email=True,
        password_min_characters=8,
        password_characters=PASSWORD_CHARACTERS["letters_digits"],
        token_lifetime_s=60,
        token_reuse_interval_s=0,
        otp_characters=8,
        otp_lifetime_s=60,
        token_hook=("public", "claims"),
        site_url="https://app.example",
        redirect_urls=("https://other.example",),
        opaque_key_lifetime_s=20,
    )
    assert project.realtime == RealtimeLimits(max_events_per_s=2500, max_joins_per_s=100)
    assert project.buckets == (
        Bucket(name="avatars", public=True, file_size_limit=5 * 1024**2, mime_types=("image/png",)),
        Bucket(name="files", public=False, file_size_limit=51 * 1024**2, mime_types=None),
    )
    assert project.ignored == ("auth.external.google",)
    default = ProjectFiles.read(write_project(tmp_path / "default"))
    assert default == ProjectFiles()
    # Those of the CLI.
    assert (default.file_size_limit, default.auth.allows_anonymous) == (50 * 1024**2, False)


async def test_config_toml_buckets_are_created_and_ignored_settings_noted(
    tmp_path: Path, local_cluster: LocalCluster
) -> None:
    buckets = '[storage.buckets.avatars]\npublic = true\nallowed_mime_types = ["image/png"]\n[storage.buckets.seeded]\n'
    project = write_project(
        tmp_path / "supabase",
        seed="insert into storage.buckets (id, name, public) values ('seeded', 'seeded', true); set role anon;",
        config=buckets + "[functions.hello]\nverify_jwt = true\n[auth.external.google]\nenabled = true",
    )
    async with local_cluster.fresh(project) as stack:
        with psycopg.connect(stack.db_url) as connection:
            rows = connection.execute(
                "select id, public, file_size_limit, allowed_mime_types from storage.buckets order by id"
            ).fetchall()
        (note,) = stack.state.notes
        assert note.endswith(
            "without effect in the embedded stack: auth.external.google, functions.hello. "
            "Use `supabase start` for them."
        )
    assert rows == [("avatars", True, 50 * 1024**2, ["image/png"]), ("seeded", False, 50 * 1024**2, None)]


@pytest.mark.parametrize(
    ("declared", "size_bytes"), [('"5KB"', 5000), ('"5KiB"', 5120), ('"1 GB"', 10**9), ('"512"', 512), ("1024", 1024)]
)
def test_config_toml_sizes_are_parsed_like_the_supabase_cli(tmp_path: Path, declared: str, size_bytes: int) -> None:
    config = f"[storage]\nfile_size_limit = {declared}"
    assert ProjectFiles.read(write_project(tmp_path / "supabase", config=config)).file_size_limit == size_bytes


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("[api", "is not valid TOML"),
        ("api = 5", "cannot read .* as a Supabase project"),
        ('[api]\nport = "env(PORT)"', r"Supabase project: .*'env\(PORT\)'"),
        ("[api]\nschemas = 5", "cannot read .* as a Supabase project"),
        ('[storage]\nfile_size_limit = "much"', r"^storage\.file_size_limit in .* must be a size such as 50MiB"),
        (
            '[auth]\npassword_requirements = "hard"',
            r"^auth\.password_requirements in .* must be one of letters_digits, ",
        ),
        ('[api]\nmax_body_size = "much"', r"^api\.max_body_size in .* must be a size such as 50MiB"),
    ],
)
def test_config_toml_error_is_one_sentence(tmp_path: Path, config: str, sentence: str) -> None:
    with pytest.raises(LocalPermanentError, match=sentence):
        ProjectFiles.read(write_project(tmp_path / "supabase", config=config))


def test_seed_paths_follow_config_toml(tmp_path: Path) -> None:
    """Several files in order, or none."""
    folder = write_project(
        tmp_path / "several", seed="first", config='[db.seed]\nsql_paths = ["./seed.sql", "more/*.sql"]'
    )
    (folder / "more").mkdir()
    (folder / "more" / "b.sql").write_text("third")
    (folder / "more" / "a.sql").write_text("second")
    assert ProjectFiles.read(folder).seed == "first\nsecond\nthird"
    disabled = write_project(tmp_path / "none", seed="first", config="[db.seed]\nenabled = false")
    assert ProjectFiles.read(disabled).seed == ""


def test_migrations_ignore_files_with_other_names(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "supabase", "select 1", "select 2")
    (folder / "migrations" / "notes.sql").write_text("not mine")
    (folder / "migrations" / "20250101000003_draft.sql.txt").write_text("not mine")
    versions = [migration.version for migration in ProjectFiles.read(folder).migrations]
    assert versions == ["20250101000001", "20250101000002"]


def test_data_of_another_postgres_version_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "stack" / "postgres").mkdir(parents=True)
    (tmp_path / "stack" / "postgres" / "PG_VERSION").write_text("15\n")
    stack = LocalStack(tmp_path / "stack", migrations=write_project(tmp_path / "supabase"))
    with (
        pytest.raises(LocalPermanentError, match=r"was created by Postgres 15, and this is 18; `smelt local reset`"),
        running(stack),
    ):
        pass


@pytest.mark.parametrize(
    "name", ["a b'c é", 'comma, "quotes" \\', "it is a long folder " * 6], ids=["odd", "odder", "long"]
)
def test_folder_names_with_special_characters_and_length_work(tmp_path: Path, name: str) -> None:
    """The names are problematic in shells, connection strings or Unix sockets; no socket folder is left."""
    folder = tmp_path / name
    with running(LocalStack(folder, migrations=write_project(tmp_path / "supabase"))) as stack:
        sockets = Path(conninfo_to_dict(stack.admin_dsn)["host"])
        assert list(sockets.glob(".s.PGSQL.*"))
    assert not sockets.exists()
    assert (folder / "postgres" / "PG_VERSION").exists()
