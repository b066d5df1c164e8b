import Contracts
import Database
import Foundation
import Jobs
import Records

/// Runs the playbooks of one change of stage: each once, whatever dies, with a line in the log for every action.
struct PlaybookRun {
    let store: RecordStore
    private static let most = 50

    func run(_ job: RunPlaybooksJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            guard let contact = try await store.find(Contact.type, job.contact, in: transaction) else { return }
            let type = Playbook.type
            let rows = try await transaction.query(
                """
                select \(type.selectList) from contacts.playbook r
                where r.tenant_id = $1 and r.deleted_at is null and r.status = 'active' and r.stage = (
                    select c.to_stage from contacts.lifecycle_change c where c.tenant_id = $1 and c.id = $2)
                and not exists (select 1 from contacts.playbook_run p
                    where p.tenant_id = $1 and p.change_id = $2 and p.playbook_id = r.id)
                order by r.position, r.created_at, r.id limit \(Self.most)
                """, [transaction.tenant.parameter, .uuid(job.change)])
            // The others come with another job: those of this one are in the log by then.
            if rows.count == Self.most { store.outbox.enqueue([try PendingJob(job)], in: transaction) }
            let write = try await WriteContext(job: "playbook", context, transaction)
            for row in 0..<rows.count {
                let playbook = Record(rows, row, type: type)
                var log: [JSONValue] = []
                for action in playbook.json("actions")?.array ?? [] {
                    log.append(try await perform(action, playbook, contact, job, write, transaction))
                }
                transaction.later(
                    Statement(
                        """
                        insert into contacts.playbook_run
                            (tenant_id, change_id, playbook_id, playbook_version, at, actions)
                        values ($1, $2, $3, $4, $5, $6::jsonb)
                        """,
                        [
                            transaction.tenant.parameter, .uuid(job.change), .uuid(playbook.id), .int(playbook.version),
                            .time(Date()), .text(JSONValue.array(log).encoded),
                        ]))
            }
        }
    }

    /// Does one action and gives its line of the log. What a rule refuses is logged, and the others go on.
    private func perform(
        _ action: JSONValue, _ playbook: Record, _ contact: Record, _ job: RunPlaybooksJob, _ write: WriteContext,
        _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let kind = action["kind"]?.text ?? ""
        do {
            return try await transaction.savepoint {
                switch kind {
                case "create_task": try await createTask(action, playbook, contact, write, transaction)
                case "notify_owner": try await notify(action, playbook, contact, write, transaction)
                default: try await enrol(action, contact, job, write, transaction)
                }
            }
        } catch let problem as Problem where problem.status < 500 {
            return line(kind, "refused", ["reason": problem.extra["reason"] ?? .string(problem.code)])
        }
    }

    private func line(_ kind: String, _ outcome: String, _ more: [String: JSONValue] = [:]) -> JSONValue {
        .object(more.merging(["kind": .string(kind), "outcome": .string(outcome)]) { $1 })
    }

    private func title(_ action: JSONValue, _ playbook: Record) -> JSONValue {
        JSONValue(action["title"]?.text ?? playbook.text("name"))
    }

    private func createTask(
        _ action: JSONValue, _ playbook: Record, _ contact: Record, _ write: WriteContext,
        _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let due = action["due_days"]?.int.map { Date(timeIntervalSinceNow: Double($0) * 86_400) }
        let owner = JSONValue(contact.text("owner_id"))
        let task = try await store.create(
            PlannedTask.type,
            [
                "subject": title(action, playbook), "due_at": JSONValue(due.map(Timestamp.rfc3339)),
                "priority": .string(action["priority"]?.text ?? "normal"),
                "contact_id": .string(contact.id.lowercased), "assignee_id": owner, "owner_id": owner,
                "team_id": JSONValue(contact.text("team_id")), "channel": action["channel"] ?? .null,
                "purpose": action["purpose"] ?? .null,
            ], write, in: transaction)
        return line("create_task", "done", ["task_id": .string(task.id.lowercased)])
    }

    private func notify(
        _ action: JSONValue, _ playbook: Record, _ contact: Record, _ write: WriteContext,
        _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let note = try await store.create(
            Notification.type,
            [
                "user_id": JSONValue(contact.text("owner_id")), "kind": "alert", "subject": title(action, playbook),
                "record_type": "contact", "record_id": .string(contact.id.lowercased),
                "at": .string(Timestamp.rfc3339(Date())),
            ], write, in: transaction)
        return line("notify_owner", "done", ["notification_id": .string(note.id.lowercased)])
    }

    private func enrol(
        _ action: JSONValue, _ contact: Record, _ job: RunPlaybooksJob, _ write: WriteContext,
        _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        guard let campaign = action["campaign_id"]?.text.flatMap(UUID.init(uuidString:)) else {
            return line("enrol_in_campaign", "refused", ["reason": "no_campaign"])
        }
        let now = Date()
        let purpose = action["purpose"]?.text.flatMap(ContactPurpose.init(rawValue:)) ?? .marketing
        guard let permission = try await ContactPermissions.permission(of: contact.id, at: now, in: transaction) else {
            return line("enrol_in_campaign", "refused", ["reason": "no_contact"])
        }
        let channel: ContactChannel
        if let wanted = action["channel"]?.text.flatMap(ContactChannel.init(rawValue:)) {
            let decision = permission.decision(purpose, by: wanted, at: now)
            guard decision.isAllowed else {
                return line("enrol_in_campaign", "refused", ["reason": .string(decision.reason.rawValue)])
            }
            channel = wanted
        } else {
            guard let best = permission.best(for: purpose, at: now) else {
                return line("enrol_in_campaign", "refused", ["reason": "no_channel_allowed"])
            }
            channel = best
        }
        try store.outbox.publish(
            CampaignEnrolmentRequested(
                campaign: campaign, contact: contact.id, channel: channel, change: job.change), in: transaction,
            traceparent: write.traceparent)
        return line(
            "enrol_in_campaign", "done",
            ["campaign_id": .string(campaign.lowercased), "channel": .string(channel.rawValue)])
    }
}
