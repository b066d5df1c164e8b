import Database
import Foundation
import HTTPTypes
import Records
import ServiceKit

extension RecordStore {
    /// Runs a change of accounts and answers with what `body` gives, under the request's idempotency key and dry run.
    ///
    /// A tenant's changes of accounts come one after another: so no two of them can take away the last two owners, or
    /// give somebody a role while it goes. `secrets` are shown to whoever caused them and kept nowhere: a repeated
    /// request is answered without.
    func changing(
        _ request: EndpointRequest, status: Int = 200, at path: String? = nil, secrets: [String: JSONValue] = [:],
        _ body: @Sendable (TenantTransaction) async throws -> JSONValue
    ) async throws -> EndpointResponse {
        let dryRun = try request.flag("dry_run")
        let result = try await writing(dryRun: dryRun, request.context) { transaction in
            transaction.later(
                Statement(
                    "select 1 from platform.tenant where tenant_id = $1 for no key update",
                    [transaction.tenant.parameter]))
            let json = try await body(transaction)
            return WriteResult(
                status: status, id: nil, version: nil, body: status == 204 ? [] : json.encodedBytes)
        }
        var answer = EndpointResponse(result.status, result.body)
        if dryRun {
            answer.headers.append((HTTPField.Name("X-Dry-Run")!, "true"))
            return answer
        }
        let json = try? JSONParser.parse(result.body)
        if result.isReplay {
            answer.headers.append((HTTPField.Name("Idempotency-Replayed")!, "true"))
        } else if !secrets.isEmpty, let members = json?.object {
            answer.body = JSONValue.object(members.merging(secrets) { $1 }).encodedBytes
        }
        if status == 201, let path, let id = json?["id"]?.text {
            answer.headers.append((.location, "\(request.prefix)\(path)/\(id)"))
        }
        return answer
    }

    /// One page of a list: `select` gives its statement, from `after` (the last page's last key) and the limit, and
    /// `item` an entry with its key.
    func page(
        _ request: EndpointRequest, of name: String, keys: Int,
        _ select: (_ after: [String?], _ limit: Int) throws -> Statement,
        _ item: (Rows, Int) -> (json: JSONValue, key: [String?])
    ) async throws -> EndpointResponse {
        let limit = try request.limit(200, usual: 50)
        // A cursor is good for the list that gave it: the tenant's, with these filters.
        let filters = request.query.filter { $0.name != "cursor" && $0.name != "limit" }.sorted { $0.name < $1.name }
            .map { "\($0.name)=\($0.value)" }.joined(separator: "&")
        let cursor = cursor("\(request.context.tenant)/\(name)/\(filters)")
        let after =
            try request.parameter("cursor").map { try cursor.decode($0, count: keys) }
            ?? [String?](repeating: nil, count: keys)
        let rows = try await database.query(
            tenant: request.context.tenant, try select(after, limit + 1), readOnly: true)
        let items = (0..<min(limit, rows.count)).map { item(rows, $0) }
        let next = rows.count > limit ? items.last.map { cursor.encode($0.key) } : nil
        return EndpointResponse(json: ["items": .array(items.map(\.json)), "next_cursor": JSONValue(next)])
    }
}

extension Rows {
    /// A time as the surface shows it; null for NULL.
    func timeJSON(_ row: Int, _ column: Int) -> JSONValue {
        time(row, column).map { .string(Timestamp.rfc3339($0)) } ?? .null
    }

    /// A JSON value that PostgreSQL wrote; null for NULL.
    func json(_ row: Int, _ column: Int) -> JSONValue {
        text(row, column).flatMap { try? JSONParser.parse($0.utf8) } ?? .null
    }

    /// The texts of a JSON array that PostgreSQL wrote.
    func texts(_ row: Int, _ column: Int) -> [String] { json(row, column).array?.compactMap(\.text) ?? [] }
}
