-- Users take turns; all visitors and anonymous sign-ins take turns as one user.
do $$
declare
    v_busy constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
    v_guest constant uuid := pg_temp.given_user();
    v_guests_smelt uuid;
    v_ids uuid[];
    v_claims jsonb;
begin
    v_ids := array[
        pg_temp.given_smelt(v_busy), pg_temp.given_smelt(v_busy), pg_temp.given_smelt(v_busy),
        pg_temp.given_smelt(null), pg_temp.given_smelt(null), pg_temp.given_smelt(v_other)
    ];
    perform pg_temp.become('authenticated', v_guest, true);
    v_guests_smelt := public.create_smelt(text_input => 'notes') ->> 'id';
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_guests_smelt)).queue_rank = 3, 'the third of those without an account';
    perform pg_temp.become('service_role');
    perform public.cancel_smelt(v_guests_smelt);
    perform pg_temp.become('authenticated', v_other);
    assert public.get_smelt(v_ids[6]) ->> 'queue_position' = '3', public.get_smelt(v_ids[6]);
    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('worker', max_count => 4) -> 'smelts';
    assert (select array_agg((c ->> 'id')::uuid) from jsonb_array_elements(v_claims) as c)
        = array[v_ids[1], v_ids[4], v_ids[6], v_ids[2]], v_claims;
    -- One smelt without an owner is running, and two of the busy user.
    v_claims := public.claim_smelts('worker', max_count => 1) -> 'smelts';
    assert (v_claims -> 0 ->> 'id')::uuid = v_ids[5], v_claims;
    assert public.get_smelt(v_ids[3]) ->> 'queue_position' = '1';
    assert public.get_smelt(v_ids[1]) ->> 'queue_position' is null;
end
$$;
