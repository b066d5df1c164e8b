-- Entries on the timelines of tenant :tenant: a tenth of :rows on that of its oldest contact, the others four by four.
-- They go in by their times, over three years: what one contact has lies among everybody's.
with busiest as (
    select id from contacts.contact where tenant_id = :tenant order by id limit 1
), whose as (
    select id from busiest, generate_series(1, :rows / 10)
    union all
    select c.id from contacts.contact c tablesample bernoulli (22.5) repeatable (7), generate_series(1, 4)
    where c.tenant_id = :tenant and c.id <> (select id from busiest)
), moments as materialized (
    select id, now() - random() * interval '3 years' as at, random() as chance from whose
)
insert into contacts.timeline_entry (tenant_id, id, contact_id, at, kind, service, record_type, record_id, version,
    title, detail, is_open, is_deleted, is_void)
select :tenant, e.entry, e.id, e.at, e.kind, 'contacts', 'activity', e.entry, 1, e.title,
    jsonb_build_object('direction', e.direction, 'duration_seconds', (e.chance * 1800)::int), false, false, false
from (
    select m.id, m.at, m.chance,
        overlay(gen_random_uuid()::text placing left(platform.uuid_lower_bound(m.at)::text, 15) from 1)::uuid as entry,
        (array['call', 'email', 'meeting', 'note', 'web_visit', 'social_message'])[1 + (m.chance * 1e6)::int % 6]
            as kind,
        (array['问候 Regards', '报价 Offer', '回访 Follow-up', '产品咨询 Question'])[1 + (m.chance * 1000)::int % 4]
            as title,
        (array['inbound', 'outbound'])[1 + (m.chance * 100)::int % 2] as direction
    from moments m
) e
order by e.at;
