import Contracts
import Database
import Foundation
import Jobs
import Records
import ServiceKit
import Tenancy

/// `POST /v1/contacts/{id}/erasure`, its certificate, and the proof of a certificate.
struct ErasureEndpoints {
    let store: RecordStore
    private var erasures: ContactErasure { ContactErasure(store: store) }

    var all: [Endpoint] { [create, get, verify] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]
    private static let anyText: JSONValue = #"^[^\u0000]*$"#
    private static let plainText: JSONValue = [
        "type": "string", "minLength": 1, "maxLength": 500, "pattern": #"^[A-Za-z0-9][A-Za-z0-9 ,.]*$"#,
    ]

    // MARK: Asking

    private var create: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["reason", "confirm"], "additionalProperties": false,
                "properties": [
                    "reason": Self.plainText,
                    "confirm": [
                        "type": "string", "pattern": Self.anyText,
                        "description": "The contact's display name, or its id.",
                    ],
                ],
            ]
            $0.status = 202
            $0.response = [
                "type": "object", "required": ["job_id", "erasure_id"],
                "properties": ["job_id": Self.id, "erasure_id": Self.id],
            ]
            $0.others = [
                200: [
                    "type": "object", "required": ["contact_id", "contacts", "services", "tables"],
                    "properties": [
                        "contact_id": Self.id, "contacts": ["type": "array", "items": Self.id],
                        "services": ["type": "array", "items": ["type": "string"]], "tables": ["type": "array"],
                    ],
                ]
            ]
            $0.predicts = false
            $0.refusals = [404, 409]
            $0.links = [("job_id", "/v1/jobs/{id}"), ("erasure_id", "/v1/erasures/{id}")]
        }
        return Endpoint(
            .post, "/v1/contacts/{id}/erasure",
            "Erase a person for good, in all services and their histories; the answer to it is a certificate",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            guard request.context.permissions?.isAdministrator == true else {
                throw Problem(403, "forbidden", "Owners and administrators erase.")
            }
            let id = try request.id()
            let wish = try ErasureWish(try await request.json())
            if try request.flag("dry_run") {
                let prediction = try await store.database.withTenant(request.context.tenant) { transaction in
                    try await predict(id, wish, request.context, transaction)
                }
                let result = WriteResult(status: 200, id: nil, version: nil, body: prediction.encodedBytes)
                return EndpointResponse(result, to: request, dryRun: true)
            }
            let result = try await store.writing(Contact.type, dryRun: false, request.context) { transaction in
                try await start(id, wish, request.context, transaction)
            }
            return EndpointResponse(result, to: request, at: "/v1/jobs")
        }
    }

    /// The contact, locked, living or deleted, when it can be erased and is the one that is meant.
    private func checked(
        _ id: UUID, _ wish: ErasureWish, _ transaction: TenantTransaction
    ) async throws -> (contact: Record, traces: PersonTraces, subjects: [UUID]) {
        guard let contact = try await store.lock(Contact.type, id, includingDeleted: true, in: transaction) else {
            throw Problem.notFound("contact")
        }
        if contact.text("erased_at") != nil { throw Problem.erased(Contact.type) }
        if let survivor = contact.text("merged_into") {
            throw Problem(
                409, "merged", "This contact has become part of another one: erase that one.",
                extra: ["merged_into": .string(survivor)])
        }
        let names = [contact.text("display_name"), id.lowercased].compactMap { $0 }
        guard names.contains(wish.confirm) || wish.confirm.lowercased() == id.lowercased else {
            throw Problem(
                409, "not_confirmed", "confirm is the contact's display name, as it stands, or its id.",
                fields: [FieldError("/confirm", "not_confirmed", "This is not the contact's name or id.")])
        }
        let subjects = try await ContactErasure.subjects(of: id, transaction)
        let traces = try await erasures.traces(of: subjects, transaction)
        // The certificate stays, and names nobody.
        if traces.isFound(in: wish.reason) {
            throw Problem.invalid("/reason", "personal_value", "The reason stays: it must not name the person.")
        }
        return (contact, traces, subjects)
    }

    private func predict(
        _ id: UUID, _ wish: ErasureWish, _ context: WriteContext, _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let person = try await checked(id, wish, transaction)
        let note = ErasureNote(
            erasure: .v7(), subjects: person.subjects, actor: context.actor, traces: person.traces)
        let counts = try await PersonErasure(store: store, target: "contact").count(note, in: transaction)
        return [
            "contact_id": .string(id.lowercased),
            "contacts": .array(person.subjects.map { .string($0.lowercased) }),
            // What the others hold they know themselves: they are asked when it is done.
            "services": .array(erasures.asked.map { .string($0) }),
            "tables": .array(
                counts.sorted { $0.key < $1.key }.map { ["table": .string($0.key), "rows": JSONValue($0.value)] }),
        ]
    }

    private func start(
        _ id: UUID, _ wish: ErasureWish, _ context: WriteContext, _ transaction: TenantTransaction
    ) async throws -> WriteResult {
        let person = try await checked(id, wish, transaction)
        let known = try await transaction.query(
            "select id from contacts.erasure where tenant_id = $1 and contact_id = $2",
            [transaction.tenant.parameter, .uuid(id)])
        if let erasure = known.isEmpty ? nil : known.uuid(0, 0) {
            throw Problem(
                409, "already_erased", "This contact is being erased.",
                extra: ["erasure_id": .string(erasure.lowercased)])
        }
        let job = try PendingJob(EraseContactJob(erasure: context.changeSet), traceparent: context.traceparent)
        transaction.later(
            Statement(
                """
                insert into contacts.erasure (tenant_id, id, contact_id, contacts, job_id, actor, reason, requested_at,
                    services)
                values ($1, $2, $3, $4::uuid[], $5, $6, $7, now(), $8::text[])
                """,
                [
                    transaction.tenant.parameter, .uuid(context.changeSet), .uuid(id),
                    .array(person.subjects.map(\.lowercased)), .uuid(job.id), .text(context.actor),
                    .text(wish.reason), .array(erasures.asked),
                ]))
        store.outbox.enqueueTracked(job, note: "records", in: transaction)
        let body: JSONValue = [
            "job_id": .string(job.id.lowercased), "erasure_id": .string(context.changeSet.lowercased),
        ]
        return WriteResult(status: 202, id: job.id, version: nil, body: body.encodedBytes)
    }

    // MARK: The certificate

    private var get: Endpoint {
        let text: JSONValue = ["type": ["string", "null"]]
        let documentation = EndpointDocumentation {
            $0.response = [
                "type": "object",
                "required": ["state", "certificate", "hash", "signature", "public_key"],
                "properties": [
                    "state": ["type": "string", "enum": ["running", "done"]],
                    "certificate": ["type": "object", "required": ["id", "contact_id", "services"]],
                    "hash": text, "signature": text, "public_key": text,
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/erasures/{id}", "An erasure and, once all services have reported, its signed certificate",
            documentation: documentation
        ) { request in
            try request.allow([])
            guard request.context.permissions?.isAdministrator == true else {
                throw Problem(403, "forbidden", "Owners and administrators see erasures.")
            }
            let id = try request.id()
            return EndpointResponse(
                json: try await store.database.withTenant(request.context.tenant) { try await answer(id, $0) })
        }
    }

    private func answer(_ id: UUID, _ transaction: TenantTransaction) async throws -> JSONValue {
        guard let erasure = try await erasures.load(id, transaction) else { throw Problem.notFound("erasure") }
        guard erasure.finishedAt != nil else {
            let certificate = try await erasures.certificate(erasure, transaction)
            return [
                "state": "running", "certificate": certificate.json, "hash": .null, "signature": .null,
                "public_key": .null,
            ]
        }
        let rows = try await transaction.query(
            "select certificate::text, signature, public_key from contacts.erasure where tenant_id = $1 and id = $2",
            [transaction.tenant.parameter, .uuid(id)])
        let certificate = try JSONParser.parse(rows.text(0, 0)!.utf8)
        return [
            "state": "done", "certificate": certificate,
            "hash": .string(Sodium.base64(ErasureCertificate.hash(certificate))),
            "signature": .string(Sodium.base64(rows.bytes(0, 1)!)),
            "public_key": .string(Sodium.base64(rows.bytes(0, 2)!)),
        ]
    }

    // MARK: Proof

    private var verify: Endpoint {
        let documentation = EndpointDocumentation {
            $0.body = [
                "type": "object", "required": ["certificate", "signature"], "additionalProperties": false,
                "properties": [
                    "certificate": [
                        "type": "string", "pattern": Self.anyText,
                        "description": "As JSON text, its members in any order.",
                    ],
                    "signature": ["type": "string", "pattern": Self.anyText],
                ],
            ]
            $0.response = [
                "type": "object", "required": ["valid", "signed", "known", "history_holds"],
                "properties": [
                    "valid": ["type": "boolean"], "signed": ["type": "boolean"], "known": ["type": "boolean"],
                    "history_holds": ["type": "boolean"],
                ],
            ]
        }
        return Endpoint(
            .post, "/v1/erasures/verification",
            "Whether a certificate is ours, unchanged, and what it says still holds", documentation: documentation
        ) { request in
            try request.allow([])
            let body = try await request.json()
            guard let members = body.object else {
                throw Problem.invalid("", "not_an_object", "An object belongs here.")
            }
            for name in members.keys.sorted() where !["certificate", "signature"].contains(name) {
                throw Problem.invalid("/\(name)", "unknown_field", "There is no such field.")
            }
            guard let text = members["certificate"]?.text else {
                throw Problem.invalid("/certificate", "not_text", "The certificate belongs here, as text.")
            }
            // What is no JSON is no certificate of ours.
            let certificate = (try? JSONParser.parse(text.utf8)) ?? .null
            guard let signature = members["signature"]?.text else {
                throw Problem.invalid("/signature", "not_text", "The signature belongs here.")
            }
            return EndpointResponse(
                json: try await store.database.withTenant(request.context.tenant) { transaction in
                    try await proof(certificate, signature, transaction)
                })
        }
    }

    private func proof(
        _ certificate: JSONValue, _ signature: String, _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let key = ErasureCertificate.sign(.null, secret: store.certificateSecret).publicKey
        let isSigned = Sodium.isSignature(
            Sodium.bytes(base64: signature) ?? [], of: certificate.encodedBytes, by: key)
        var isKnown = false
        var historyHolds = false
        if let id = certificate["id"]?.text.flatMap(UUID.init(uuidString:)) {
            let rows = try await transaction.query(
                "select certificate::text from contacts.erasure where tenant_id = $1 and id = $2",
                [transaction.tenant.parameter, .uuid(id)])
            let kept = rows.isEmpty ? nil : rows.text(0, 0).flatMap { try? JSONParser.parse($0.utf8) }
            isKnown = kept?.encodedBytes == certificate.encodedBytes
            let own = certificate["services"]?.array?.first { $0["service"] == "contacts" }
            let root = try await PersonErasure.root(id, schema: "contacts", in: transaction)
            historyHolds = own?["history_root"]?.text == root
        }
        return [
            "valid": .bool(isSigned && isKnown && historyHolds), "signed": .bool(isSigned), "known": .bool(isKnown),
            "history_holds": .bool(historyHolds),
        ]
    }
}

/// What a request for an erasure says.
private struct ErasureWish: Sendable {
    let reason: String
    let confirm: String

    /// Throws 422 with every wrong member.
    init(_ body: JSONValue) throws(Problem) {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        var errors: [FieldError] = []
        for name in members.keys.sorted() where !["reason", "confirm"].contains(name) {
            errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
        }
        var reason: String?
        do throws(FieldError) {
            let field = Field("reason", .text(max: 500), Label("Reason", "原因")).required()
            reason = try FieldReader(defaults: .neutral).read(members["reason"] ?? .null, as: field, at: "/reason")[0]
        } catch {
            errors.append(error)
        }
        let confirm = members["confirm"]?.text
        if confirm == nil {
            errors.append(FieldError("/confirm", "required", "The contact's name or id belongs here."))
        }
        guard errors.isEmpty, let reason, let confirm else { throw .invalid(errors) }
        self.reason = reason
        self.confirm = confirm
    }
}
