-- A delivery is kept for a week after its end, also if its smelt is deleted; a pending one is kept until then.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_smelt uuid;
    v_id uuid;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt_webhook('https://example.com/hook') ->> 'id';
    for n in 1..3 loop
        v_smelt := pg_temp.given_ended_smelt(v_user);
        perform pg_temp.become('authenticated', v_user);
        perform public.delete_smelt(v_smelt);
    end loop;
    perform pg_temp.become('service_role');
    for n in 1..2 loop
        v_claim := public.claim_smelt_webhook_deliveries('worker') -> 0;
        perform public.settle_smelt_webhook_delivery((v_claim ->> 'id')::uuid, 1, 200);
    end loop;
    perform pg_temp.become('postgres');
    update smelt.webhook_deliveries set created_at = created_at - interval '8 days';
    update smelt.webhook_deliveries set ended_at = now() - interval '7 days 1 s' where id = (v_claim ->> 'id')::uuid;
    perform pg_temp.become('service_role');
    perform public.list_expired_smelts('janitor');
    perform pg_temp.become('postgres');
    assert (select array_agg(d.status order by d.status) from smelt.webhook_deliveries as d) = '{delivered,pending}';
    assert not exists (select from smelt.webhook_deliveries as d where d.id = (v_claim ->> 'id')::uuid);
    delete from auth.users where id = v_user;
    assert not exists (select from smelt.webhook_deliveries as d where d.webhook_id = v_id);
    assert not exists (select from smelt.webhook_secrets as s where s.webhook_id = v_id);
end
$$;
