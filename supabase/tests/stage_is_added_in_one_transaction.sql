-- A stage, an error code or a state is added in one transaction, which can use it at once. Rows that contradict the new
-- checks are found by the same migration.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_report jsonb;
begin
    set constraints all immediate;
    insert into smelt.stages (status, position, message, min_percentage, max_percentage)
    values ('diarizing', 35, 'Finding speakers...', 60, 70);
    update smelt.stages set max_percentage = 60 where status = 'transcribing';
    alter table public.smelts
        drop constraint smelts_status_known, drop constraint smelts_percentage_in_stage,
        add constraint smelts_status_known check (status in (
            'pending', 'validating', 'decoding', 'transcribing', 'diarizing', 'synthesizing', 'completed', 'failed'
        )),
        add constraint smelts_percentage_in_stage check (
            case status
                when 'transcribing' then percentage between 20 and 60
                when 'diarizing' then percentage between 60 and 70
                else true
            end
        );
    alter table public.smelt_files
        drop constraint smelt_files_stage_of_status,
        add constraint smelt_files_stage_of_status check (status <> 'pending' or stage = 'pending');

    perform pg_temp.become('service_role');
    v_report := public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint, 'diarizing', 99, files => jsonb_build_array(
            jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'stage', 'diarizing')
        )
    );
    assert v_report -> 'event' -> 'progress'
        = '{"stage": "diarizing", "percentage": 70, "message": "Finding speakers..."}', v_report;
    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'transcribing', 60);
    assert v_report -> 'event' = 'null', 'it comes after transcribing';
    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'synthesizing');
    assert v_report -> 'event' -> 'progress' ->> 'stage' = 'synthesizing', v_report;
    perform pg_temp.become('postgres');
    assert (select stage = 'diarizing' from public.smelt_files where smelt_id = v_id);
end
$$;
