-- A percentage outside the range of its stage is clamped to it.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_attempt constant bigint := pg_temp.claim() ->> 'attempt';
    v_case record;
    v_report jsonb;
begin
    perform pg_temp.become('service_role');
    for v_case in
        select * from (values
            ('validating', 50.0, '10.0'), ('decoding', 3.0, '10.0'), ('decoding', 99.0, '20.0'),
            ('transcribing', null, '20.0'), ('transcribing', 100.0, '70.0'), ('synthesizing', 250.0, '100.0')
        ) as c (status, given, expected)
    loop
        v_report := public.report_smelt_progress(v_id, v_attempt, v_case.status, v_case.given);
        perform pg_temp.become('postgres');
        assert (pg_temp.smelt(v_id)).percentage::text = v_case.expected, format('%s: %s', v_case, v_report);
        perform pg_temp.become('service_role');
    end loop;
end
$$;
