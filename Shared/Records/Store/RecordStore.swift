import Database
import Foundation
import Jobs
import Tenancy

/// Every read and write of records, for every type: permissions in the query, rules, history and jobs in the
/// transaction of the change.
package struct RecordStore: Sendable {
    package let catalogue: Catalogue
    package let database: Database
    package let outbox: Outbox
    /// Signs cursors; the same in every process of the service.
    let secret: [UInt8]

    package init(catalogue: Catalogue, database: Database, outbox: Outbox, secret: [UInt8]) {
        self.catalogue = catalogue
        self.database = database
        self.outbox = outbox
        self.secret = secret
    }

    /// What keys that sign certificates are made from: as secret as the service's own.
    package var certificateSecret: [UInt8] { Sodium.hash(Array("certificates".utf8), key: secret) }

    /// Cursors of the list that `context` describes: they open no other.
    package func cursor(_ context: String) -> PageCursor { PageCursor(secret: secret, context: context) }

    /// A key of 32 bytes for one `purpose`, from the secret that all processes share.
    package func key(for purpose: String) -> [UInt8] { Sodium.hash(Array(purpose.utf8), key: secret) }

    // MARK: Reading

    /// One living record as JSON with its version; of a person who was erased what is left. A record that was merged into another answers with that one, whose id
    /// it then has. Throws 404 for a record that is not there, not the tenant's, or outside the bearer's scope: the three
    /// look alike.
    package func get(
        _ type: RecordType, _ id: UUID, fields: Set<String>? = nil, expanding expansions: [Expansion] = [],
        hops: Int = 20, _ context: WriteContext
    ) async throws -> (body: [UInt8], version: Int, id: UUID) {
        let scope = try context.scope(of: .read, on: type)
        let fields = try context.shown(type, asking: fields)
        try requireExpandable(expansions, type, context)
        var builder = SQLBuilder([context.tenant.parameter, .uuid(id)])
        let condition = context.condition(scope, type, &builder)
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                """
                select \(type.selectList) from \(type.table) r
                where r.tenant_id = $1 and r.id = $2 and \(type.isAnswering)\(condition)
                """, builder.parameters), readOnly: true)
        guard rows.count == 1 else {
            guard hops > 0, let survivor = try await survivor(of: id, type, context) else {
                throw Problem.notFound(type.name)
            }
            return try await get(
                type, survivor, fields: fields, expanding: expansions, hops: hops - 1, context)
        }
        var body: [UInt8] = []
        body.reserveCapacity(1024)
        RecordJSON.append(rows, 0, type: type, only: fields, to: &body)
        if !expansions.isEmpty {
            let ids = Expansion.ids(expansions, rows, 0, type)
            try await expanded(expansions, [ids], context).append(to: &body, ids)
        }
        return (body, rows.int(0, 1)!, id)
    }

    /// The record that a deleted one was merged into.
    private func survivor(of id: UUID, _ type: RecordType, _ context: WriteContext) async throws -> UUID? {
        guard type.field("merged_into") != nil else { return nil }
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                "select merged_into from \(type.table) where tenant_id = $1 and id = $2 and deleted_at is not null",
                [context.tenant.parameter, .uuid(id)]), readOnly: true)
        return rows.isEmpty ? nil : rows.uuid(0, 0)
    }

    /// One page of a list.
    package struct Page: Sendable {
        package let body: [UInt8]
        package let nextCursor: String?
    }

    /// A page of living records within the bearer's scope: `{"items": […], "next_cursor": …}`, with `count` when asked.
    package func list(_ type: RecordType, _ query: ListQuery, _ context: WriteContext) async throws -> Page {
        let scope = try context.scope(of: .read, on: type)
        let fields = try context.shown(type, asking: query.fields)
        // What the order is by stands in the cursor, and is told by the order itself.
        try context.requireVisible(query.sort.map(\.field), type)
        try requireExpandable(query.expansions, type, context)
        let statement = PageStatement(type: type, query: query)
        var builder = SQLBuilder([context.tenant.parameter])
        // What the index of the newest can tell, and what only the record can.
        var covered = ""
        var others = context.condition(scope, type, &builder)
        let compiler = FilterCompiler(catalogue: catalogue, defaults: context.defaults, reach: FilterReach(context))
        let parts = query.filter?.conjuncts ?? []
        // One condition alone soon finds a page's records among all: only several are worth a second look at each.
        let goesThrough =
            query.isNewestFirst && query.text == nil && parts.count > 1
            && !parts.contains { !$0.isCovered(by: type) && $0.isFound(in: type, context.defaults) }
        for part in parts {
            let condition = " and " + (try compiler.sql(part, type: type, &builder))
            if goesThrough && part.isCovered(by: type) { covered += condition } else { others += condition }
        }
        if let text = query.text {
            let hits = try await hits(type, text, page: query.isFirstOfNewest ? query.limit + 1 : 0, context)
            others += " and r.id = any(\(builder.bind(.array(hits.map(\.lowercased)), "uuid[]")))"
        }
        let asksIndex = !covered.isEmpty
        let counted = Statement(countSQL(type, "\(Self.living)\(covered)\(others)", query.count), builder.parameters)
        let cursor = PageCursor(
            secret: secret,
            context: "\(context.tenant)/\(type.name)/\(query.sort.map { ($0.descending ? "-" : "") + $0.field })/"
                + "\(query.filter?.canonical ?? "")/\(query.text ?? "")/\(context.actor)")
        if let text = query.cursor {
            let values = try cursor.decode(text, count: statement.keys.count)
            covered += " and " + statement.after(values, &builder)
        }
        let limit = builder.bind(.int(query.limit + 1), "bigint")
        let keys = statement.keys.map { "\($0.expression)::text" }.joined(separator: ", ")
        // That it lives the index has told: asked again, a plan made while the table was empty could look for the record
        // in that index, which has no ids in order.
        let source =
            asksIndex
            ? """
            (
                select r.id as newest_id, r.created_at as newest_at from \(type.table) r
                where \(Self.living)\(covered) order by r.created_at desc, r.id desc
            ) newest cross join lateral (
                select * from \(type.table) r
                where r.tenant_id = $1 and r.id = newest.newest_id\(others) offset 0
            ) r order by newest.newest_at desc, newest.newest_id desc
            """
            : "\(type.table) r where \(Self.living)\(covered)\(others) order by \(statement.orderBy)"
        let select = Statement(
            "select \(type.selectList), \(keys) from \(source) limit \(limit)", builder.parameters)
        let results = try await database.batch(
            tenant: context.tenant, query.count == nil ? [select] : [select, counted], readOnly: true)
        let rows = results[0]
        let shown = min(rows.count, query.limit)
        var next: String?
        if rows.count > query.limit {
            let first = rows.columnCount - statement.keys.count
            next = cursor.encode(statement.keys.indices.map { rows.text(shown - 1, first + $0) })
        }
        var body: [UInt8] = []
        body.reserveCapacity(shown * 900 + 64)
        body.append(contentsOf: #"{"items":["#.utf8)
        let ids = query.expansions.isEmpty ? [] : (0..<shown).map { Expansion.ids(query.expansions, rows, $0, type) }
        let expanded = query.expansions.isEmpty ? nil : try await expanded(query.expansions, ids, context)
        for row in 0..<shown {
            if row > 0 { body.append(UInt8(ascii: ",")) }
            RecordJSON.append(rows, row, type: type, only: fields, to: &body)
            expanded?.append(to: &body, ids[row])
        }
        body.append(contentsOf: #"],"next_cursor":"#.utf8)
        JSONValue(next).write(to: &body)
        if query.count != nil { body.append(contentsOf: #","count":\#(results[1].int(0, 0) ?? 0)"#.utf8) }
        body.append(UInt8(ascii: "}"))
        return Page(body: body, nextCursor: next)
    }

    private static let living = "r.tenant_id = $1 and r.deleted_at is null"

    /// An estimate stops counting at ten thousand: it costs the same on any tenant.
    private func countSQL(_ type: RecordType, _ conditions: String, _ count: ListQuery.Count?) -> String {
        count == .exact
            ? "select count(*) from \(type.table) r where \(conditions)"
            : "select count(*) from (select 1 from \(type.table) r where \(conditions) limit 10000) as c"
    }

    /// The record with its row locked until the transaction ends; nil when it is not there.
    package func lock(
        _ type: RecordType, _ id: UUID, scope: String = "", builder: SQLBuilder? = nil, includingDeleted: Bool = false,
        in transaction: TenantTransaction
    ) async throws -> Record? {
        let rows = try await transaction.query(
            """
            select \(type.selectList) from \(type.table) r
            where r.tenant_id = $1 and r.id = $2\(includingDeleted ? "" : " and r.deleted_at is null")\(scope)
            for update
            """, builder?.parameters ?? [transaction.tenant.parameter, .uuid(id)])
        return rows.isEmpty ? nil : Record(rows, 0, type: type)
    }

    /// The record as it stands, without a lock.
    package func find(_ type: RecordType, _ id: UUID, in transaction: TenantTransaction) async throws -> Record? {
        let rows = try await transaction.query(
            """
            select \(type.selectList) from \(type.table) r
            where r.tenant_id = $1 and r.id = $2 and r.deleted_at is null
            """, [transaction.tenant.parameter, .uuid(id)])
        return rows.isEmpty ? nil : Record(rows, 0, type: type)
    }
}
