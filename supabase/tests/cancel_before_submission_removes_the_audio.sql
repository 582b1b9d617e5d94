-- The audio of a smelt that is cancelled before it is submitted is listed for purge at once. A retry is rejected: it
-- would need new uploads, which a new smelt accepts. A text that was not submitted has none, and waits again.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_list jsonb;
    v_id uuid;
begin
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(files => pg_temp.recordings(2), options => '{"keep_audio_h": 48}');
    v_id := v_created ->> 'id';
    perform pg_temp.upload(v_created);
    assert public.cancel_smelt(v_id) ->> 'status' = 'failed';
    assert (pg_temp.smelt(v_id)).audio_state = 'removing' and (pg_temp.smelt(v_id)).audio_kept_until is null;
    assert public.submit_smelt(v_id) ->> 'status' = 'failed';
    assert pg_temp.rejection(format('select public.retry_smelt(%L)', v_id)) = 'PT410 audio_expired';

    perform pg_temp.become('service_role');
    v_list := public.list_expired_smelts('janitor');
    assert jsonb_array_length(v_list -> 'objects') = 2 and v_list -> 'smelts' = jsonb_build_array(v_id), v_list;
    perform pg_temp.become('postgres');
    perform set_config('storage.allow_delete_query', 'true', true);
    delete from storage.objects;
    perform pg_temp.become('service_role');
    assert public.confirm_smelts_purged('{}', array[v_id]) = '{"purged": 1, "failed": []}';
    assert (pg_temp.smelt(v_id)).audio_state = 'removed';
    assert pg_temp.rejection(format('select public.retry_smelt(%L)', v_id)) = 'PT410 audio_expired';

    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(text_input => 'notes', submit => false) ->> 'id';
    perform public.cancel_smelt(v_id);
    assert public.retry_smelt(v_id) @> '{"status": "pending", "submitted_at": null}';
    assert public.submit_smelt(v_id) ->> 'submitted_at' is not null;
end
$$;
