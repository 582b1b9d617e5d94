"""One Supabase project: SQL functions, Storage and Realtime, with tokens, retries and error mapping."""
