import Contracts
import Database
import Foundation
import Records

/// Reads what a contact allows. Whatever would send, call or ask looks here first.
enum ContactPermissions {
    /// The permission of a living contact as of `time`, with what decided it; nil when there is no such contact.
    static func permission(
        of contact: UUID, at time: Date, in transaction: TenantTransaction
    ) async throws -> ContactPermission? {
        let results = try await transaction.batch(statements(contact, at: time, tenant: transaction.tenant))
        return try read(results)
    }

    /// Throws 409 where `purpose` may not reach the contact by `channel` at `time`. A contact that is not there is
    /// refused by whoever refers to it.
    static func require(
        _ purpose: ContactPurpose, by channel: ContactChannel, of contact: UUID, at time: Date,
        in transaction: TenantTransaction
    ) async throws {
        guard let permission = try await permission(of: contact, at: time, in: transaction) else { return }
        let decision = permission.decision(purpose, by: channel, at: time)
        guard !decision.isAllowed else { return }
        throw Problem(
            409, "not_contactable", decision.reason.explanation,
            fields: [FieldError("/channel", decision.reason.rawValue, decision.reason.explanation)],
            extra: [
                "reason": .string(decision.reason.rawValue),
                "best_channel": JSONValue(permission.best(for: purpose, at: time)?.rawValue),
            ])
    }

    /// The contact, and of its consents up to `time` the newest per channel and purpose.
    static func statements(_ contact: UUID, at time: Date, tenant: TenantID) -> [Statement] {
        [
            Statement(
                """
                select do_not_contact, channel_preference, emails, phones, socials
                from contacts.contact where tenant_id = $1 and id = $2 and deleted_at is null
                """, [tenant.parameter, .uuid(contact)]),
            Statement(
                """
                select distinct on (channel, purpose) channel, purpose, state, at, expires_at, id
                from contacts.consent
                where tenant_id = $1 and contact_id = $2 and deleted_at is null and at <= $3
                order by channel, purpose, at desc, state desc, id desc
                """, [tenant.parameter, .uuid(contact), .time(time)]),
        ]
    }

    /// What `statements` gave, as a decision's input.
    static func read(_ results: [Rows]) throws -> ContactPermission? {
        let (contact, consents) = (results[0], results[1])
        guard !contact.isEmpty else { return nil }
        func list(_ column: Int) -> [JSONValue] {
            contact.text(0, column).flatMap { try? JSONParser.parse($0.utf8) }?.array ?? []
        }
        var reachable: Set<ContactChannel> = [.web, .faceToFace]
        if !list(2).isEmpty { reachable.insert(.email) }
        if !list(3).isEmpty { reachable.formUnion([.phone, .sms]) }
        if !list(4).isEmpty { reachable.insert(.social) }
        return ContactPermission(
            doNotContact: contact.bool(0, 0) == true,
            consents: (0..<consents.count).compactMap { state(consents, $0) },
            preference: list(1).compactMap { $0["channel"]?.text.flatMap(ContactChannel.init(rawValue:)) },
            reachable: reachable)
    }

    private static func state(_ rows: Rows, _ row: Int) -> ConsentState? {
        guard let channel = rows.text(row, 0).flatMap(ContactChannel.init(rawValue:)),
            let purpose = rows.text(row, 1).flatMap(ContactPurpose.init(rawValue:)), let at = rows.time(row, 3)
        else { return nil }
        return ConsentState(
            channel: channel, purpose: purpose, isGranted: rows.text(row, 2) == "granted", at: at,
            expiresAt: rows.time(row, 4))
    }
}
