"""A Supabase project as smelt sees it: functions, recordings, Realtime."""
