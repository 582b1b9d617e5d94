-- A release that counts is followed by the delay of a failure, and the third one ends the smelt; the owner reads that
-- the worker stopped. A repeated release returns the first result. One that does not count is due at once.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user(), 2);
    v_claim jsonb;
    v_first jsonb;
    v_delay_s double precision;
begin
    for i in 1..3 loop
        v_claim := pg_temp.claim();
        perform pg_temp.report(v_claim, 'decoding', 'decode');
        perform pg_temp.become('service_role');
        v_first := public.release_smelt(
            v_id, (v_claim ->> 'attempt')::bigint, counts => true, reason => 'the decoder was killed by SIGKILL'
        );
        assert public.release_smelt(v_id, (v_claim ->> 'attempt')::bigint, counts => true) = v_first;
        perform pg_temp.become('postgres');
        assert (pg_temp.smelt(v_id)).failure_count = i;
        if i < 3 then
            assert v_first ->> 'verdict' = 'released' and v_first ->> 'status' = 'decoding', v_first;
            assert (pg_temp.smelt(v_id)).message = 'Retrying...';
            v_delay_s := extract(epoch from (v_first ->> 'claimable_at')::timestamptz - clock_timestamp());
            assert v_delay_s between 2.5 * 2 ^ (i - 1) - 0.5 and 5 * 2 ^ (i - 1), v_delay_s;
            assert not exists (select from smelt.suspects), 'the worker is alive';
            update public.smelts set claimable_at = now();
        end if;
    end loop;
    assert v_first @> '{"verdict": "settled", "status": "failed", "error_code": "internal_error"}', v_first;
    assert (pg_temp.smelt(v_id)).error_message = 'The worker stopped 3 times while decoding these files.';

    perform pg_temp.given_smelt(pg_temp.given_user());
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    v_first := public.release_smelt((v_claim ->> 'id')::uuid, (v_claim ->> 'attempt')::bigint, reason => 'draining');
    assert v_first ->> 'verdict' = 'released' and (v_first ->> 'claimable_at')::timestamptz <= clock_timestamp();
    assert (pg_temp.smelt((v_claim ->> 'id')::uuid)).failure_count = 0;
    assert pg_temp.claim() ->> 'id' = v_claim ->> 'id';
end
$$;
