import Database
import Foundation
import Records
import Tenancy

/// What proves an erasure: who asked and why, what went where and when, signed with the service's key. It names nobody.
struct ErasureCertificate: Sendable {
    struct Part: Sendable {
        let report: ErasureReport
        let at: Date
    }

    let id: UUID
    let contact: UUID
    let contacts: [UUID]
    let actor: String
    let reason: String
    let requestedAt: Date
    let finishedAt: Date?
    /// Services that are asked; those without a part have not reported yet.
    let services: [String]
    let parts: [Part]

    /// The same values always give the same text: members stand in the order of their names.
    var json: JSONValue {
        [
            "id": .string(id.lowercased), "contact_id": .string(contact.lowercased),
            "contacts": .array(contacts.map { .string($0.lowercased) }), "requested_by": .string(actor),
            "reason": .string(reason), "requested_at": .string(Timestamp.rfc3339(requestedAt)),
            "finished_at": JSONValue(finishedAt.map(Timestamp.rfc3339)),
            "services": .array(services.sorted().map { part($0) }),
        ]
    }

    private func part(_ service: String) -> JSONValue {
        let part = parts.first { $0.report.service == service }
        func rows(_ counts: [String: Int]?) -> JSONValue {
            .array(
                (counts ?? [:]).sorted { $0.key < $1.key }.map {
                    ["table": .string($0.key), "rows": JSONValue($0.value)]
                })
        }
        return [
            "service": .string(service), "reported_at": JSONValue(part.map { Timestamp.rfc3339($0.at) }),
            "tables": rows(part?.report.tables),
            "mentions": .array((part?.report.mentions ?? []).map { .string($0) }),
            "left": rows(part?.report.left),
            "history_root": JSONValue(part?.report.root),
        ]
    }

    static func hash(_ certificate: JSONValue) -> [UInt8] { Sodium.hash(certificate.encodedBytes) }

    /// The key is made from the service's secret: whoever has that can sign, anybody can verify.
    static func sign(_ certificate: JSONValue, secret: [UInt8]) -> (signature: [UInt8], publicKey: [UInt8]) {
        Sodium.signature(
            of: certificate.encodedBytes, seed: Sodium.hash(Array("guanxi erasure certificate".utf8) + secret))
    }
}
