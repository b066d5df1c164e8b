import Contracts
import Database
import Foundation
import Records

/// What a person said of being reached by a channel for a purpose: an entry that stays, the newest counts.
enum Consent {
    static let type = RecordType(
        "consent", plural: "consents", schema: "contacts", label: Label("Consent", "同意记录"),
        fields: [
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")).required().immutable(),
            Field("channel", .choice(ContactChannel.allCases.map(\.rawValue)), Label("Channel", "渠道")).required()
                .immutable(),
            Field("purpose", .choice(ContactPurpose.allCases.map(\.rawValue)), Label("Purpose", "目的")).required()
                .immutable(),
            Field("state", .choice(["granted", "withdrawn"]), Label("State", "状态")).required().immutable(),
            Field("at", .timestamp, Label("Said at", "时间")).immutable().sortable(),
            Field("expires_at", .timestamp, Label("Valid until", "有效期至")).immutable(),
            Field("evidence", .text(max: 2_000, multiline: true), Label("Evidence", "凭证")).immutable(),
        ] + RecordType.origin,
        operations: [.create, .import], defaultSort: "-at",
        rules: RecordRules(prepare: prepare, effects: effects))

    /// One that lies ahead counts from its time on.
    private static func prepare(_ draft: inout Draft) throws {
        if draft["at"] == nil { draft["at"] = Timestamp.sqlText(draft.now) }
    }

    private static func effects(_ change: Change) -> Effects {
        guard let contact = change.after.uuid("contact_id"), let state = state(change.after) else { return Effects() }
        return Effects(events: [
            ConsentChanged(consents: [
                ConsentNote(
                    id: change.after.id, version: change.after.version, contact: contact, state: state,
                    isDeleted: change.after.deletedAt != nil)
            ])
        ])
    }

    private static func state(_ record: Record) -> ConsentState? {
        guard let channel = record.text("channel").flatMap(ContactChannel.init(rawValue:)),
            let purpose = record.text("purpose").flatMap(ContactPurpose.init(rawValue:)), let at = record.time("at")
        else { return nil }
        return ConsentState(
            channel: channel, purpose: purpose, isGranted: record.text("state") == "granted", at: at,
            expiresAt: record.time("expires_at"))
    }
}
