-- A smelt at the failure limit that a trigger of the app keeps from ending stops no other claim; it is due again in a
-- minute.
do $$
declare
    v_bad constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb;
    v_good uuid;
    v_claims jsonb;
begin
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'id')::uuid = v_bad;
    perform pg_temp.stop(v_claim);
    update public.smelts set failure_count = 2 where id = v_bad;
    create function public.reject_failed() returns trigger language plpgsql as $f$
        begin
            raise exception 'a smelt must not fail';
        end
    $f$;
    create trigger reject_failed before update on public.smelts
        for each row when (new.status = 'failed') execute function public.reject_failed();
    v_good := pg_temp.given_smelt(pg_temp.given_user());
    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('worker', max_count => 10);
    assert jsonb_array_length(v_claims -> 'smelts') = 1, v_claims;
    assert v_claims -> 'smelts' -> 0 ->> 'id' = v_good::text, v_claims;
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_bad)).failure_count = 2 and (pg_temp.smelt(v_bad)).status = 'transcribing';
    assert (select l.expires_at > clock_timestamp() + interval '50 s' from smelt.leases as l where l.smelt_id = v_bad);

    drop trigger reject_failed on public.smelts;
    perform pg_temp.expire_leases();
    perform pg_temp.claim();
    assert (pg_temp.smelt(v_bad)).error_code = 'internal_error';
end
$$;
