\startpipeline
select set_config('app.tenant_id', :tenant::text, true);
select id, version, created_at, updated_at, deleted_at, given_name, family_name, display_name, birth_date, job_title, industry, occupation, region, organization_id, emails, phones, socials, addresses, identifiers, needs, risk_attitude, likelihood_to_repurchase, likelihood_to_recommend, do_not_contact, channel_preference, lifecycle_stage, lifecycle_group, quality_score, merged_into, merge_id, erased_at, source, external_id, owner_id, team_id, custom, r.created_at::text, r.id::text from contacts.contact r where r.tenant_id = :tenant and r.deleted_at is null and r.industry = 'retail' order by r.created_at desc, r.id desc limit 51;
\endpipeline
