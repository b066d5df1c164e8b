import Database
import Foundation
import Records
import ServiceKit
import TestSupport
import Testing

/// Every route of every service, with the ids of another tenant: found by asking the services themselves, so that a new
/// route or record type is tested by being there.
@Suite("Tenants are kept apart", .serialized)
struct TenantLeakTests {
    /// A body that each type takes, from its own description, referring to records made before.
    static func body(_ type: RecordType, _ made: [String: String], mark: String) -> [String: JSONValue] {
        var body: [String: JSONValue] = [:]
        for field in type.fields where !field.isReadOnly {
            switch field.kind {
            case .text(let maximum, _) where maximum >= 60: body[field.name] = .string("\(mark) \(field.name)")
            case .reference(let target): if let id = made[target] { body[field.name] = .string(id) }
            case .foreignID: break
            case .choice(let choices): if field.isRequired { body[field.name] = .string(choices[0]) }
            case .money: body[field.name] = ["amount": 100, "currency": "EUR"]
            case .integer(let low, let high): body[field.name] = JSONValue(min(max(low, 1), high))
            case .currency: body[field.name] = "EUR"
            case .timestamp: if field.isRequired { body[field.name] = "2030-01-01T10:00:00Z" }
            default: break
            }
        }
        switch type.name {
        case "order": body["contact_id"] = .string(made["contact"] ?? UUID().uuidString)
        case "survey_response": body["answers"] = [["item": .string(mark), "expectation": 5, "performance": 6]]
        case "organization", "opportunity", "ticket": body["parent_id"] = nil
        case "task": body["linked_type"] = nil
        case "webhook":
            body["url"] = .string("https://hooks.example/\(mark)")
            body["events"] = ["*"]
        case "saved_view": body["sort"] = nil
        case "custom_field":
            body["record_type"] = "contact"
            body["name"] = .string("f\(UUID().uuidString.prefix(8).lowercased())")
        // One of its kind in a tenant.
        case "call_line": body["extension"] = .string("\(mark) \(UUID().uuidString.prefix(8))")
        case "relationship":
            // With a company or with another person, never both.
            body["other_contact_id"] = nil
            body["kind"] = "other"
        default: break
        }
        return body
    }

    /// Fills a tenant with one record of each type; gives their ids by type.
    private func fill(_ platform: TestPlatform, _ key: String, mark: String) async throws -> [String: String] {
        var made: [String: String] = [:]
        for service in allServices {
            let client = platform.client(service.name, token: key)
            for type in service.types where type.operations.contains(.create) {
                let answer = try await client.post("/v1/\(type.plural)", .object(Self.body(type, made, mark: mark)))
                guard answer.status == 201 else { throw TestFailure("\(type.name): \(answer.status) \(answer.text)") }
                made[type.name] = answer.json["id"]!.text!
                // Saved views are a type of every service.
                made[type.table] = made[type.name]
            }
        }
        return made
    }

    @Test("no endpoint shows, changes, counts or hints at anything of another tenant")
    func everyRoute() async throws {
        let platform = try await TestPlatform(allServices.flatMap { ["\($0.name) serve", "\($0.name) work"] })
        let secret = "zebra\(Int.random(in: 100_000...999_999))"
        let (a, b) = (try await platform.tenant("tenant-a"), try await platform.tenant("tenant-b"))
        let theirs = try await fill(platform, a.key, mark: secret)
        let ours = try await fill(platform, b.key, mark: "own")
        let file = Array("external_id,given_name\n1,\(secret)\nbad,\n".utf8)
        let upload = try await platform.client("contacts", token: a.key).upload(
            options: ["type": "contact"], file: file)
        let theirJob = upload.json["job_id"]!.text!
        let over = try await platform.finished(platform.client("contacts", token: a.key), job: theirJob)
        let theirImport = over["result"]!["import_id"]!.text!

        var routes = 0
        for service in allServices {
            let client = platform.client(service.name, token: b.key)
            let document = try await client.get("/openapi.json").json
            for (path, operations) in document["paths"]?.object ?? [:] where path.hasPrefix("/v1/") {
                let segment = path.split(separator: "/")[1]
                let type = service.types.first { $0.plural == segment }
                let foreign = type.flatMap { theirs[$0.table] } ?? (segment == "imports" ? theirImport : theirJob)
                for (method, _) in operations.object ?? [:] {
                    routes += 1
                    // A stream of events has no end of its own.
                    let url = path.replacing("{id}", with: foreign) + (path == "/v1/events" ? "?once=true" : "")
                    let answer = try await client.send(
                        method.uppercased(), url, json: ["post", "patch"].contains(method) ? ["nope": 1] : nil,
                        headers: ["If-Match": "*"])
                    #expect(!answer.text.contains(secret), "\(method) \(path)")
                    #expect(answer.status < 500, "\(method) \(path): \(answer.text)")
                    if path.contains("{id}") {
                        // The answer for another tenant's id is the one for an id that never was.
                        let unknown = try await client.send(
                            method.uppercased(), path.replacing("{id}", with: UUID().uuidString.lowercased()),
                            json: ["post", "patch"].contains(method) ? ["nope": 1] : nil, headers: ["If-Match": "*"])
                        #expect(answer.status == unknown.status, "\(method) \(path)")
                        #expect(answer.json["detail"] == unknown.json["detail"], "\(method) \(path)")
                        #expect(answer.status >= 400, "\(method) \(path): \(answer.status)")
                    }
                }
            }
        }
        #expect(routes > 60, "the services were asked for their routes")

        try await throughTypes(platform, a, b, theirs, ours, secret)
        // All that was tried has changed nothing.
        for service in allServices {
            let client = platform.client(service.name, token: a.key)
            for type in service.types {
                guard let id = theirs[type.table] else { continue }
                let record = try await client.get("/v1/\(type.plural)/\(id)")
                #expect(record.status == 200 && record.json["version"] == 1, "\(type.name)")
            }
        }
    }

    /// Filters, sorts, counts, cursors, references, uniqueness and idempotency keys of each type.
    private func throughTypes(
        _ platform: TestPlatform, _ a: (id: TenantID, key: String), _ b: (id: TenantID, key: String),
        _ theirs: [String: String], _ ours: [String: String], _ secret: String
    ) async throws {
        for service in allServices {
            let client = platform.client(service.name, token: b.key)
            let other = platform.client(service.name, token: a.key)
            for type in service.types {
                let list = "/v1/\(type.plural)"
                // What only jobs make is not there yet.
                guard let foreign = theirs[type.table] else {
                    #expect(try await client.get(list).json["items"] == [])
                    continue
                }
                let counted = try await client.get("\(list)?count=exact")
                #expect(counted.json["count"] == 1, "\(type.name) counts its own alone")
                let byID = #"{"field":"id","op":"eq","value":"\#(foreign)"}"#
                #expect(try await client.get("\(list)?filter=\(byID.urlEncoded)").json["items"] == [])
                for field in type.fields {
                    if case .text(let maximum, _) = field.kind, maximum >= 60 {
                        let filter = #"{"field":"\#(field.name)","op":"contains","value":"\#(secret)"}"#
                        let found = try await client.get("\(list)?filter=\(filter.urlEncoded)&count=exact")
                        #expect(found.json["count"] == 0, "\(type.name).\(field.name)")
                    }
                    if case .reference(let target) = field.kind, !field.isReadOnly, type.operations.contains(.create),
                        let id = theirs[target]
                    {
                        var body = Self.body(type, ours, mark: "own")
                        body[field.name] = .string(id)
                        if field.name == "other_contact_id" { body["organization_id"] = nil }
                        for name in ["number", "external_id"] { body[name] = nil }
                        let answer = try await client.post(list, .object(body))
                        #expect(answer.status == 409, "\(type.name).\(field.name): \(answer.status) \(answer.text)")
                        #expect(!answer.text.contains(secret))
                    }
                }
                // A cursor is good for the tenant it was given to.
                if type.operations.contains(.create) {
                    var body = Self.body(type, theirs, mark: secret)
                    for name in ["number", "external_id"] { body[name] = nil }
                    // A customer has one account of a programme: another account is another customer's.
                    if type.name == "loyalty_account" {
                        let fresh = try await other.post("/v1/contacts?allow_duplicates=true", ["given_name": "x"])
                        body["contact_id"] = fresh.json["id"]
                    }
                    let second = try await other.post(list, .object(body), key: "same-key-\(type.name)")
                    #expect(second.status == 201, "\(second.text)")
                    let cursor = try await other.get("\(list)?limit=1").json["next_cursor"]?.text ?? ""
                    #expect(!cursor.isEmpty)
                    #expect(try await client.get("\(list)?limit=1&cursor=\(cursor)").status == 400, "\(type.name)")
                    // The same idempotency key of another tenant is another key.
                    var mine = Self.body(type, ours, mark: "own2")
                    for name in ["number", "external_id"] { mine[name] = nil }
                    if type.name == "loyalty_account" {
                        let fresh = try await client.post("/v1/contacts?allow_duplicates=true", ["given_name": "x"])
                        mine["contact_id"] = fresh.json["id"]
                    }
                    let answer = try await client.post(list, .object(mine), key: "same-key-\(type.name)")
                    #expect(answer.status == 201 && !answer.text.contains(secret), "\(type.name): \(answer.text)")
                }
            }
        }
    }

    @Test("nobody gets in without a good key, and a revoked one is out")
    func credentials() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("keys")
        let good = platform.client("contacts", token: tenant.key)
        #expect(try await good.get("/v1/contacts").status == 200)
        let forged = String(tenant.key.dropLast(4)) + "AAAA"
        for token in [nil, "", "x", "gx_0_0", forged, tenant.key + "x", "gs" + tenant.key.dropFirst(2)] {
            let answer = try await platform.client("contacts", token: token).get("/v1/contacts/\(UUID().uuidString)")
            #expect(answer.status == 401, "\(token ?? "none")")
            #expect(answer.header("content-type")?.hasPrefix("application/problem+json") == true)
        }
        let id = String(tenant.key.split(separator: "_")[1])
        let rows = try await platform.owner.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            return try await transaction.batch([
                Statement("update platform.api_key set revoked_at = now() where id = $1", [.text(id)]),
                Statement("select pg_notify('guanxi_credentials', 'key:' || $1)", [.text(id)]),
            ])
        }
        #expect(rows[0].affected == 1)
        try await eventually(within: 15, "the key is forgotten") { try await good.get("/v1/contacts").status == 401 }
    }
}
