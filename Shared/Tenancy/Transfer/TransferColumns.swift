import Database

/// How a table's rows become lines of an export, and rows again.
///
/// A line is the row as PostgreSQL's `row_to_json` writes it, without the tenant's number and what only this installation
/// understands, so that the same tenant gives the same lines wherever it lives.
struct TransferColumns: Sendable {
    let table: TenantTable
    let withCredentials: Bool

    /// Of these nothing goes with a tenant: what waits for workers or tells of their work, what is kept for a day, and
    /// what lets somebody in for a while. Scheduled jobs do go: they are promises to people.
    private static let left: Set<String> = [
        "outbox", "inbox", "serial_line", "serial_job", "job_group", "job_backlog", "job_retry", "job_status",
        "live_event", "dead_job", "job_unique", "recurring_firing", "idempotency",
        "import_chunk", "export", "export_piece", "session", "user_token", "totp", "recovery_code", "tenant_key",
    ]
    /// These go only where secrets are asked for.
    private static let secret: Set<String> = ["platform.api_key", "accounts.webhook_secret"]

    /// Nil for a table that stays.
    init?(_ table: TenantTable, withCredentials: Bool) {
        if Self.left.contains(table.baseName) { return nil }
        if Self.secret.contains(table.name) && !withCredentials { return nil }
        self.table = table
        self.withCredentials = withCredentials
    }

    /// Numbers of transactions mean nothing elsewhere: the column's default takes their place.
    private var columns: [TenantTable.Column] { table.columns.filter { $0.name != "tenant_id" && $0.type != "xid8" } }

    var names: [String] { columns.map(\.name) }

    /// A COPY of the tenant's rows as lines, in the order of their key. Neither byte that stands for quotes and commas
    /// can be in a line, so that lines come as they are.
    func export(_ tenant: TenantID) -> String {
        let list = columns.map { "\(written($0, tenant)) as \(TenantTable.quoted($0.name))" }.joined(separator: ", ")
        let types = Dictionary(uniqueKeysWithValues: table.columns.map { ($0.name, $0.type) })
        let order = table.key.filter { $0 != "tenant_id" }.map {
            "t.\(TenantTable.quoted($0))" + (types[$0] == "text" ? " collate \"C\"" : "")
        }
        return """
            copy (select row_to_json(r)::text from (
                select \(list) from \(table.name) t where t.tenant_id = \(tenant)
                \(order.isEmpty ? "" : "order by \(order.joined(separator: ", "))")) r
            ) to stdout with (\(Self.lines))
            """
    }

    static let lines = "format csv, quote e'\\x01', delimiter e'\\x02'"
    static let stage = "pg_temp.tenant_line"

    private func written(_ column: TenantTable.Column, _ tenant: TenantID) -> String {
        let name = "t.\(TenantTable.quoted(column.name))"
        if table.name == "platform.app_user" && column.name == "password_hash" && !withCredentials {
            return "null::text"
        }
        return switch column.type {
        // As it was written, to the byte: digests are over it.
        case "json": "\(name)::text"
        // Each word of a search index begins with its tenant's number.
        case "tsvector": "replace(\(name)::text, '''\(Self.wordMark(tenant))', '''')"
        default: name
        }
    }

    /// Puts the lines of the stage into the table, as rows of the tenant.
    func takeIn(_ tenant: TenantID) -> Statement {
        let list = columns.map { TenantTable.quoted($0.name) }
        return Statement(
            """
            insert into \(table.name) (tenant_id\(list.map { ", \($0)" }.joined()))
            select \(tenant)\(columns.map { ", \(read($0, tenant))" }.joined())
            from \(Self.stage) s cross join lateral json_populate_record(null::\(table.name), s.line) r
            """)
    }

    /// The line is read once, by `json_populate_record`: what needs more is made of what that gives.
    private func read(_ column: TenantTable.Column, _ tenant: TenantID) -> String {
        let name = "r.\(TenantTable.quoted(column.name))"
        let mark = Self.wordMark(tenant)
        return switch column.type {
        // It came as a text, which as JSON is a string.
        case "json": "(\(name) #>> '{}')::json"
        // A JSON null and no value look alike in a line; where there must be a value it was the former.
        case "jsonb" where column.isRequired: "coalesce(\(name), 'null')"
        case "tsvector":
            """
            (case when \(name)::text = '' then '' else '''\(mark)'
                || replace(substr(\(name)::text, 2), ''' ''', ''' ''\(mark)') end)::tsvector
            """
        default: name
        }
    }

    private static func wordMark(_ tenant: TenantID) -> String { String(tenant.rawValue, radix: 36) + ":" }
}
