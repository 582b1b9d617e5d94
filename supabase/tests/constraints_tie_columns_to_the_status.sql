-- Constraints reject rows whose columns contradict their status, and unknown values.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(null);
    v_case record;
    v_name text;
begin
    for v_case in
        select * from (values
            (
                'status = ''completed'', percentage = 100, outcome = ''complete'', claimable_at = null',
                'smelts_completed_at_iff_ended'
            ),
            ('completed_at = now()', 'smelts_completed_at_iff_ended'),
            ('percentage = 30', 'smelts_percentage_in_stage'),
            ('status = ''transcribing''', 'smelts_percentage_in_stage'),
            ('error_code = ''cancelled'', error_message = ''x''', 'smelts_error_iff_failed'),
            ('outcome = ''complete''', 'smelts_outcome_iff_completed'),
            ('submitted_at = null, audio_state = ''expected''', 'smelts_claimable_only_open'),
            ('audio_state = ''expected''', 'smelts_audio_stored_when_submitted'),
            (
                'status = ''failed'', error_code = ''cancelled'', error_message = ''x'', completed_at = now(), '
                'submitted_at = null, claimable_at = null, queue_rank = null, audio_state = ''expected''',
                'smelts_audio_expected_only_open'
            ),
            ('seq = 0', 'smelts_counters'),
            ('status = ''polishing''', 'smelts_status_known'),
            ('mode = ''both''', 'smelts_mode_known'),
            ('audio_state = ''lost''', 'smelts_audio_state_known'),
            ('started_at = now()', 'smelts_started_by_an_attempt')
        ) as c (assignment, expected)
    loop
        begin
            execute format('update public.smelts set %s where id = %L', v_case.assignment, v_id);
            raise exception 'accepted: %', v_case;
        exception when check_violation then
            get stacked diagnostics v_name = constraint_name;
            assert v_name = v_case.expected, format('%s: %s', v_case, v_name);
        end;
    end loop;
end
$$;
