"""Creates small Supabase projects for stacks."""

from pathlib import Path

NOTES = """
create table public.notes (
    id int generated always as identity primary key,
    user_id uuid default auth.uid() references auth.users,
    body text
);
alter table public.notes enable row level security;
create policy own on public.notes to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.notes;

insert into storage.buckets (id, name) values ('box', 'box');
create policy own_folder on storage.objects to authenticated
    using (bucket_id = 'box' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy room on realtime.messages to authenticated
    using (realtime.topic() = 'room') with check (realtime.topic() = 'room');
"""


def write_project(folder: Path, *migrations: str, seed: str = "", config: str = "") -> Path:
    """Write a `supabase/` folder with these migrations, in order."""
    (folder / "migrations").mkdir(parents=True)
    for number, text in enumerate(migrations, start=1):
        add_migration(folder, number, text)
    (folder / "seed.sql").write_text(seed)
    (folder / "config.toml").write_text(config)
    return folder


def add_migration(folder: Path, number: int, text: str) -> None:
    """Write another migration."""
    (folder / "migrations" / f"2025010100000{number}_step_{number}.sql").write_text(text)
