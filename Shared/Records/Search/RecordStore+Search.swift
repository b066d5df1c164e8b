import Database
import Foundation
import Tenancy

extension RecordStore {
    /// More hits than this are not looked at: the newest ones count.
    package static let mostHits = 1000

    /// The ids of the tenant's living records of the type that `text` finds, newest first; whether the bearer may see
    /// them is for the query that reads them to say.
    ///
    /// With a `page`, so many of the newest are enough, where they are soon found and the bearer may see all.
    func hits(
        _ type: RecordType, _ text: String, most: Int = mostHits, page: Int = 0, _ context: WriteContext
    ) async throws -> [UUID] {
        guard !type.searchFields.isEmpty, let query = SearchWords.query(text, tenant: context.tenant) else { return [] }
        let rows = try await database.query(
            tenant: context.tenant, hitsStatement(type, query, most, page: context.seesAll(type) ? page : 0),
            readOnly: true)
        let ids = (0..<rows.count).map { rows.uuid($0, 0)! }
        let hidden = context.hidden(type)
        if ids.isEmpty || !type.searchFields.contains(where: { hidden.contains($0.name) }) { return ids }
        return try await visible(ids, type, text, hidden, context)
    }

    /// Those of the hits that are found by what the bearer may see: the index knows the words of all fields, and to be
    /// found by a hidden one would tell its value.
    private func visible(
        _ ids: [UUID], _ type: RecordType, _ text: String, _ hidden: Set<String>, _ context: WriteContext
    ) async throws -> [UUID] {
        let fields = type.searchFields.filter { !hidden.contains($0.name) }
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                "select \(type.selectList) from \(type.table) where tenant_id = $1 and id = any($2::uuid[])",
                [context.tenant.parameter, .array(ids.map(\.lowercased))]), readOnly: true)
        let found = (0..<rows.count).map { Record(rows, $0, type: type) }
            .filter { SearchWords.matches($0, text, fields: fields) }
        let known = Set(found.map(\.id))
        return ids.filter(known.contains)
    }

    private func hitsStatement(_ type: RecordType, _ query: String, _ most: Int, page: Int) -> Statement {
        Statement(
            "select \(type.schema).search_ids($1, $2::tsquery, $3, $4)",
            [.text(String(type.table.split(separator: ".")[1])), .text(query), .int(most), .int(page)])
    }

    /// The statement that gives living records with a telephone number, in E.164, in the list `field`, which searches
    /// find them by: oldest first, ten at most. It takes an index whatever the tenant's size.
    package func holders(of number: String, in field: String, _ type: RecordType, tenant: TenantID) -> Statement {
        Statement(
            """
            select \(type.selectList) from \(type.table) r
            where r.tenant_id = $1 and r.deleted_at is null and r.\(field) @> $4::jsonb
            and r.id = any (array(select \(type.schema).search_ids($2, $3::tsquery, 200, 0)))
            order by r.id limit 10
            """,
            [
                tenant.parameter, .text(String(type.table.split(separator: ".")[1])),
                .text(SearchWords.query(exactly: number, tenant: tenant)),
                .text(JSONValue.array([["value": .string(number)]]).encoded),
            ])
    }

    /// Those of `ids` that the bearer may read, with the field that names them.
    package func titles(_ type: RecordType, _ ids: [UUID], _ context: WriteContext) async throws -> [(
        id: UUID, title: String
    )] {
        guard !ids.isEmpty, let scope = try? context.scope(of: .read, on: type) else { return [] }
        var builder = SQLBuilder([context.tenant.parameter, .array(ids.map(\.lowercased))])
        let condition = context.condition(scope, type, &builder)
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                """
                select r.id, \(type.title?.columns[0] ?? "null") from \(type.table) r
                where r.tenant_id = $1 and r.id = any($2::uuid[]) and r.deleted_at is null\(condition) order by r.id
                """, builder.parameters), readOnly: true)
        return (0..<rows.count).map { (rows.uuid($0, 0)!, rows.text($0, 1) ?? "") }
    }

    /// Searches several types at once: `{"items": [{"type", "id", "title"}]}`, those whose title begins with the text
    /// first, then the newest.
    package func search(_ text: String, types: [RecordType], limit: Int, _ context: WriteContext) async throws
        -> [UInt8]
    {
        var items: [(rank: Int, json: JSONValue)] = []
        let wanted = Normaliser.folded(text)
        for type in types {
            guard let scope = try? context.scope(of: .read, on: type) else { continue }
            let ids = try await hits(type, text, most: limit * 5, context)
            if ids.isEmpty { continue }
            var builder = SQLBuilder([context.tenant.parameter, .array(ids.map(\.lowercased))])
            let condition = context.condition(scope, type, &builder)
            let title = type.title.flatMap { context.hidden(type).contains($0.name) ? nil : $0.columns[0] }
            let rows = try await database.query(
                tenant: context.tenant,
                Statement(
                    """
                    select id, \(title ?? "null") from \(type.table) r
                    where r.tenant_id = $1 and r.id = any($2::uuid[]) and r.deleted_at is null\(condition)
                    order by r.id desc
                    """, builder.parameters), readOnly: true)
            for row in 0..<rows.count {
                let title = rows.text(row, 1) ?? ""
                let folded = Normaliser.folded(title)
                let rank = folded == wanted ? 0 : folded.hasPrefix(wanted) ? 1 : 2
                items.append(
                    (
                        rank,
                        [
                            "type": .string(type.name), "id": .string(rows.text(row, 0)!), "title": .string(title),
                            "path": .string("/v1/\(type.plural)/\(rows.text(row, 0)!)"),
                        ]
                    ))
            }
        }
        // Stable: within a rank the order of types and times stays.
        let best = items.enumerated().sorted { ($0.element.rank, $0.offset) < ($1.element.rank, $1.offset) }
        return JSONValue.object(["items": .array(best.prefix(limit).map(\.element.json))]).encodedBytes
    }
}
