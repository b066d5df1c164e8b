import Database
import Foundation
import Tenancy

/// A condition on records: one grammar for lists, segments, automation, export and reports.
///
/// `{"and":[…]}`, `{"or":[…]}`, `{"not":{…}}` and `{"field":…,"op":…,"value":…}`. At most 50 conditions, 8 deep.
package indirect enum Filter: Sendable, Equatable {
    case and([Filter])
    case or([Filter])
    case not(Filter)
    case condition(field: String, op: Operator, value: JSONValue)

    /// What a condition asks of its field.
    package enum Operator: String, Sendable, CaseIterable {
        case eq, ne, lt, lte, gt, gte, `in`, contains, starts, empty, within, matches
    }

    private static let maximumDepth = 8
    /// How many conditions a filter has at most, over all its levels.
    package static let maximumConditions = 50

    /// One text for filters that mean the same by their words: what a cursor is bound to.
    var canonical: String {
        switch self {
        case .and(let parts): "and(\(parts.map(\.canonical).joined(separator: ",")))"
        case .or(let parts): "or(\(parts.map(\.canonical).joined(separator: ",")))"
        case .not(let part): "not(\(part.canonical))"
        case .condition(let field, let op, let value): "\(field) \(op.rawValue) \(value.encoded)"
        }
    }

    /// The conditions that all must hold.
    var conjuncts: [Filter] { if case .and(let parts) = self { parts.flatMap(\.conjuncts) } else { [self] } }

    /// Whether the index that lists go through has all that is asked for.
    func isCovered(by type: RecordType) -> Bool {
        switch self {
        case .and(let parts), .or(let parts): parts.allSatisfy { $0.isCovered(by: type) }
        case .not(let part): part.isCovered(by: type)
        case .condition(let path, _, _): path == "created_at" || type.field(path)?.isCovered == true
        }
    }

    /// Whether some index may find the few records that it holds for, so that a list had better begin there: by
    /// references, what can be sorted by, lists, and custom fields that have one.
    func isFound(in type: RecordType, _ defaults: TenantDefaults) -> Bool {
        switch self {
        case .and(let parts), .or(let parts): return parts.contains { $0.isFound(in: type, defaults) }
        case .not: return false
        case .condition(let path, _, _):
            let steps = path.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
            guard let field = type.field(String(steps[0])) else { return true }
            switch field.kind {
            case .custom(let type):
                return steps.count > 1 && defaults.customFields[type][String(steps[1])]?.isIndexed == true
            case .reference, .foreignID, .list, .tags, .email, .phone: return true
            default: return field.isSortable
            }
        }
    }

    /// Reads a filter; throws a `Problem` of status 400 that says what is wrong.
    package static func parse(_ value: JSONValue) throws(Problem) -> Filter {
        var count = 0
        return try parse(value, depth: 0, count: &count)
    }

    private static func parse(_ value: JSONValue, depth: Int, count: inout Int) throws(Problem) -> Filter {
        guard depth < maximumDepth else { throw bad("A filter is at most \(maximumDepth) deep.") }
        guard let members = value.object else { throw bad("A filter is an object.") }
        if members.count == 1, let (name, operand) = members.first, name != "field" {
            switch name {
            case "and", "or":
                guard let parts = operand.array, !parts.isEmpty else { throw bad("\(name) takes a list of filters.") }
                var filters: [Filter] = []
                for part in parts { filters.append(try parse(part, depth: depth + 1, count: &count)) }
                return name == "and" ? .and(filters) : .or(filters)
            case "not":
                return .not(try parse(operand, depth: depth + 1, count: &count))
            default:
                throw bad("A filter holds and, or, not, or field, op and value.")
            }
        }
        for name in members.keys where !["field", "op", "value"].contains(name) {
            throw bad("A condition holds field, op and value, not \(name).")
        }
        guard let field = members["field"]?.text else { throw bad("A condition names its field.") }
        guard let op = Operator(rawValue: (members["op"] ?? "eq").text ?? "") else {
            throw bad("op is one of \(Operator.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        // A value that was forgotten must not become null, which is asked for as such.
        guard members["value"] != nil || op == .empty else { throw bad("\(op.rawValue) takes a value.") }
        count += 1
        guard count <= maximumConditions else { throw bad("A filter has at most \(maximumConditions) conditions.") }
        return .condition(field: field, op: op, value: members["value"] ?? .null)
    }

    private static func bad(_ detail: String) -> Problem { .badRequest("invalid_filter", detail) }
}

/// Collects the parameters of a statement while its text is built.
package struct SQLBuilder {
    package private(set) var parameters: [Parameter] = []

    package init(_ parameters: [Parameter] = []) { self.parameters = parameters }

    /// Binds a value and gives its place: `$3::text`.
    package mutating func bind(_ parameter: Parameter, _ type: String) -> String {
        parameters.append(parameter)
        return "$\(parameters.count)::\(type)"
    }
}

/// Turns filters into SQL. Columns come from descriptions alone, values travel as parameters.
package struct FilterCompiler {
    let catalogue: Catalogue
    let defaults: TenantDefaults
    let now: Date
    let reach: FilterReach?

    /// Without a `reach` nothing is out of it: for the service's own filters. A bearer's filter gets the bearer's, or
    /// it tells of values that they may not read.
    package init(
        catalogue: Catalogue, defaults: TenantDefaults, now: Date = Date(), reach: FilterReach? = nil
    ) {
        self.catalogue = catalogue
        self.defaults = defaults
        self.now = now
        self.reach = reach
    }

    /// SQL for `filter` on rows of `type`, aliased `alias`. `$1` must be the tenant.
    package func sql(
        _ filter: Filter, type: RecordType, alias: String = "r", _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        switch filter {
        case .and(let parts):
            return try joined(parts, " and ", type: type, alias: alias, &builder)
        case .or(let parts):
            return try joined(parts, " or ", type: type, alias: alias, &builder)
        case .not(let part):
            return "(not coalesce(\(try sql(part, type: type, alias: alias, &builder)), false))"
        case .condition(let field, let op, let value):
            return try condition(field, op, value, type: type, alias: alias, &builder)
        }
    }

    private func joined(
        _ parts: [Filter], _ separator: String, type: RecordType, alias: String, _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        var texts: [String] = []
        for part in parts { texts.append(try sql(part, type: type, alias: alias, &builder)) }
        return "(" + texts.joined(separator: separator) + ")"
    }

    private func condition(
        _ path: String, _ op: Filter.Operator, _ value: JSONValue, type: RecordType, alias: String,
        _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        let parts = path.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        if parts.count == 2 { return try nested(parts[0], parts[1], op, value, type: type, alias: alias, &builder) }
        if let kind = Self.systemFields[path] {
            let field = Field(path, kind, Label(path, path))
            return try compare("\(alias).\(path)", field, op, value, path, &builder)
        }
        guard let field = type.field(path) else { throw unknown(path) }
        try requireVisible(field, type)
        switch field.kind {
        case .money:
            // A money field alone means its amount.
            return try compare(
                "\(alias).\(path)_amount", Field(path, .integer(min: .min, max: .max), field.label), op, value, path,
                &builder)
        case .tags:
            return try tags("\(alias).\(path)", op, value, path, &builder)
        case .list:
            guard op == .empty else { throw bad(path, "Name a part of the list: \(path).value, for example.") }
            return try empty("(\(alias).\(path) = '[]'::jsonb or \(alias).\(path) is null)", value, path)
        case .condition:
            guard op == .empty else { throw bad(path, "Only empty applies to a filter.") }
            return try empty("\(alias).\(path) is null", value, path)
        case .custom:
            guard op == .empty else { throw bad(path, "Name one of the custom fields: custom.tier, for example.") }
            return try empty("\(alias).\(path) is null", value, path)
        default:
            return try compare("\(alias).\(path)", field, op, value, path, &builder)
        }
    }

    /// `organization.industry` through a reference, `emails.value` within a list, `amount.currency` within money.
    private func nested(
        _ head: String, _ tail: String, _ op: Filter.Operator, _ value: JSONValue, type: RecordType, alias: String,
        _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        if let field = type.field(head) {
            try requireVisible(field, type)
            switch field.kind {
            case .money where tail == "amount":
                let amount = Field("amount", .integer(min: .min, max: .max), field.label)
                return try compare("\(alias).\(head)_amount", amount, op, value, "\(head).\(tail)", &builder)
            case .money where tail == "currency":
                return try compare(
                    "\(alias).\(head)_currency", Field("currency", .currency, field.label), op, value,
                    "\(head).\(tail)",
                    &builder)
            case .list(let fields, _):
                guard let inner = fields.first(where: { $0.name == tail }) else { throw unknown("\(head).\(tail)") }
                if case .eq = op, let text = try? FieldReader(defaults: defaults).read(value, as: inner, at: "")[0],
                    case .text = RecordJSON.value(of: inner, columns: [text]).kindOfText
                {
                    // Containment can use the list's index.
                    let wanted: JSONValue = [JSONValue.object([tail: .string(text)])]
                    return "(\(alias).\(head) @> \(builder.bind(.text(wanted.encoded), "jsonb")))"
                }
                let element = "\(alias)_e"
                let column = "(\(element).value ->> '\(tail)')::\(inner.columnTypes[0])"
                let test = try compare(column, inner, op, value, "\(head).\(tail)", &builder)
                return """
                    exists (select 1 from jsonb_array_elements(coalesce(\(alias).\(head), '[]'::jsonb)) as \(element) \
                    where \(test))
                    """
            case .custom(let name):
                guard let custom = defaults.customFields[name][tail] else { throw unknown("\(head).\(tail)") }
                return try self.custom(custom, op, value, type: type, alias: alias, &builder)
            default:
                throw unknown("\(head).\(tail)")
            }
        }
        // Two steps at most: each is a join, and a longer path has no meaning to anybody.
        guard alias.filter({ $0 == "_" }).count < 2 else {
            throw bad("\(head).\(tail)", "At most two references deep.")
        }
        guard let field = type.field("\(head)_id"), case .reference(let name) = field.kind,
            let target = catalogue.type(named: name)
        else { throw unknown("\(head).\(tail)") }
        try requireVisible(field, type)
        let inner = "\(alias)_\(head)"
        var reachable = ""
        if let reach {
            guard let scope = reach.scope(target) else {
                throw Problem(403, "forbidden", "Your roles do not allow you to read \(target.plural).")
            }
            // A record that the bearer may not read answers nothing, as one that is not there.
            reachable = reach.condition(scope, target, inner, &builder)
        }
        let test = try condition(tail, op, value, type: target, alias: inner, &builder)
        return """
            exists (select 1 from \(target.table) as \(inner) where \(inner).tenant_id = $1 \
            and \(inner).id = \(alias).\(head)_id and \(inner).deleted_at is null\(reachable) and \(test))
            """
    }

    /// A custom field: by its index where that is complete and answers the question, else by the record's own value.
    private func custom(
        _ custom: CustomField, _ op: Filter.Operator, _ value: JSONValue, type: RecordType, alias: String,
        _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        let (field, path) = (custom.field, "custom.\(custom.name)")
        let isNull = value == .null
        if custom.isIndexed, !isNull, [.eq, .in, .lt, .lte, .gt, .gte, .within].contains(op) {
            let entry = "\(alias)_v"
            let test = try compare("\(entry).\(custom.kind.indexColumn)", field, op, value, path, &builder)
            return """
                \(alias).id in (select \(entry).record_id from \(type.schema).custom_value as \(entry) \
                where \(entry).tenant_id = $1 and \(entry).record_type = '\(type.name)' \
                and \(entry).field = \(builder.bind(.text(custom.name), "text")) and \(test))
                """
        }
        let name = builder.bind(.text(custom.name), "text")
        if case .tags = field.kind { return try tags("(\(alias).custom -> \(name))", op, value, path, &builder) }
        return try compare("(\(alias).custom ->> \(name))::\(field.columnTypes[0])", field, op, value, path, &builder)
    }

    private func requireVisible(_ field: Field, _ type: RecordType) throws(Problem) {
        guard let reach, reach.hidden(type).contains(field.name) else { return }
        throw Problem(
            403, "forbidden_field", "Your roles hide of \(type.plural): \(field.name).",
            fields: [FieldError("/\(field.name)", "forbidden_field", "Your roles hide this field.")])
    }

    private func compare(
        _ column: String, _ field: Field, _ op: Filter.Operator, _ value: JSONValue, _ path: String,
        _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        let type = field.columnTypes[0]
        switch op {
        case .eq:
            return value == .null ? "\(column) is null" : "\(column) = \(try bind(value, field, path, &builder))"
        case .ne:
            if value == .null { return "\(column) is not null" }
            return "\(column) is distinct from \(try bind(value, field, path, &builder))"
        case .lt, .lte, .gt, .gte:
            guard field.isOrdered else { throw bad(path, "\(op.rawValue) does not apply to it.") }
            let sign = [Filter.Operator.lt: "<", .lte: "<=", .gt: ">", .gte: ">="][op]!
            return "\(column) \(sign) \(try bind(value, field, path, &builder))"
        case .in:
            guard let values = value.array, !values.isEmpty, values.count <= 200 else {
                throw bad(path, "in takes a list of 1 to 200 values.")
            }
            var texts: [String?] = []
            for value in values {
                guard value != .null else { throw bad(path, "null can't stand in a list; use empty.") }
                texts.append(try text(value, field, path))
            }
            return "\(column) = any(\(builder.bind(.array(texts), type + "[]")))"
        case .contains, .starts:
            guard type == "text", let wanted = value.text, !wanted.isEmpty, Self.isClean(wanted) else {
                throw bad(path, "\(op.rawValue) takes a text without control characters, for a field of text.")
            }
            let pattern = wanted.reduce(into: "") { result, character in
                if "\\%_".contains(character) { result.append("\\") }
                result.append(character)
            }
            let bound = builder.bind(.text((op == .contains ? "%" : "") + pattern + "%"), "text")
            return "\(column) ilike \(bound)"
        case .empty:
            return try empty("\(column) is null", value, path)
        case .within:
            let (lower, upper) = try RelativeDates.bounds(value, now: now, timeZone: defaults.timeZone, path: path)
            guard FieldReader.times.contains(lower), FieldReader.times.contains(upper) else {
                throw bad(path, "The span reaches beyond the years that can be asked for.")
            }
            if type == "date" {
                // A day counts when it begins, where the tenant lives, within the span.
                let days = [lower, upper].map { RelativeDates.firstDay(beginningFrom: $0, timeZone: defaults.timeZone) }
                let bounds = days.map { builder.bind(.text($0), "date") }
                return "(\(column) >= \(bounds[0]) and \(column) < \(bounds[1]))"
            }
            guard type == "timestamptz" else { throw bad(path, "within applies to dates and times.") }
            let from = builder.bind(.time(lower), "timestamptz")
            let to = builder.bind(.time(upper), "timestamptz")
            return "(\(column) >= \(from) and \(column) < \(to))"
        case .matches:
            guard type == "text", let wanted = value.text, Self.isClean(wanted) else {
                throw bad(path, "matches takes a text without control characters, for text.")
            }
            let query = builder.bind(.text(wanted), "text")
            return "to_tsvector('simple', coalesce(\(column), '')) @@ websearch_to_tsquery('simple', \(query))"
        }
    }

    private func tags(
        _ column: String, _ op: Filter.Operator, _ value: JSONValue, _ path: String, _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        switch op {
        case .eq, .contains:
            guard let tag = value.text else { throw bad(path, "\(op.rawValue) takes one text.") }
            return "\(column) @> \(builder.bind(.text(JSONValue.array([.string(tag)]).encoded), "jsonb"))"
        case .ne:
            guard let tag = value.text else { throw bad(path, "ne takes one text.") }
            let bound = builder.bind(.text(JSONValue.array([.string(tag)]).encoded), "jsonb")
            return "not (coalesce(\(column), '[]'::jsonb) @> \(bound))"
        case .in:
            guard let tags = value.array?.map(\.text), !tags.isEmpty, !tags.contains(nil) else {
                throw bad(path, "in takes a list of texts.")
            }
            return "jsonb_exists_any(\(column), \(builder.bind(.array(tags), "text[]")))"
        case .empty:
            return try empty("(\(column) is null or \(column) = '[]'::jsonb)", value, path)
        default:
            throw bad(path, "\(op.rawValue) does not apply to tags.")
        }
    }

    private func empty(_ test: String, _ value: JSONValue, _ path: String) throws(Problem) -> String {
        switch value {
        case .null, .bool(true): return "(\(test))"
        case .bool(false): return "(not \(test))"
        default: throw bad(path, "empty takes true or false.")
        }
    }

    private func bind(
        _ value: JSONValue, _ field: Field, _ path: String, _ builder: inout SQLBuilder
    ) throws(Problem) -> String {
        builder.bind(.text(try text(value, field, path)), field.columnTypes[0])
    }

    private func text(_ value: JSONValue, _ field: Field, _ path: String) throws(Problem) -> String {
        // A query string knows only text: numbers and booleans may come as such.
        var value = value
        if let text = value.text {
            switch field.kind {
            case .integer, .number: value = .number(text)
            case .boolean where text == "true" || text == "false": value = .bool(text == "true")
            default: break
            }
        }
        do throws(FieldError) {
            if case .choice = field.kind, let text = value.text { return text }
            guard let text = try FieldReader(defaults: defaults).read(value, as: field, at: path)[0] else {
                throw FieldError(path, "required", "An empty value matches nothing; use empty.")
            }
            return text
        } catch {
            throw bad(path, error.message)
        }
    }

    /// No text that is kept has other control characters: nobody can look for them.
    private static func isClean(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy {
            ($0.value >= 32 && !(127...159).contains($0.value)) || [9, 10, 13].contains($0.value)
        }
    }

    private func unknown(_ path: String) -> Problem { bad(path, "There is no such field.") }

    private func bad(_ path: String, _ detail: String) -> Problem {
        Problem(400, "invalid_filter", "\(path): \(detail)")
    }

    /// What every record has, and can be asked for.
    static let systemFields: [String: FieldKind] = [
        "id": .foreignID, "created_at": .timestamp, "updated_at": .timestamp,
        "version": .integer(min: 0, max: .max),
    ]
}

extension Field {
    /// True when less and more mean something.
    var isOrdered: Bool {
        switch kind {
        case .text, .integer, .number, .date, .timestamp, .money: true
        default: false
        }
    }
}

extension JSONValue {
    fileprivate enum TextKind { case text, other }
    fileprivate var kindOfText: TextKind { if case .string = self { .text } else { .other } }
}

/// `{"last": 30, "unit": "day"}`, `{"next": 2, "unit": "week"}`, `{"this": "month"}`, in the tenant's time zone.
enum RelativeDates {
    static func bounds(
        _ value: JSONValue, now: Date, timeZone: String, path: String
    ) throws(Problem) -> (Date, Date) {
        func bad() -> Problem {
            Problem(
                400, "invalid_filter",
                "\(path): within takes {\"last\": n, \"unit\": …}, {\"next\": n, \"unit\": …} or {\"this\": …}; "
                    + "a unit is hour, day, week, month, quarter or year.")
        }
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = TimeZone(identifier: timeZone) ?? .gmt
        guard let members = value.object else { throw bad() }
        if let unit = members["this"]?.text, members.count == 1 {
            guard let (component, factor) = units[unit] else { throw bad() }
            if factor == 3 {
                // Foundation has no quarter on Linux: its first month follows from the month.
                let parts = calendar.dateComponents([.year, .month], from: now)
                let first = DateComponents(year: parts.year, month: (parts.month! - 1) / 3 * 3 + 1)
                guard let start = calendar.date(from: first),
                    let end = calendar.date(byAdding: .month, value: 3, to: start)
                else { throw bad() }
                return (start, end)
            }
            guard let interval = calendar.dateInterval(of: component, for: now) else { throw bad() }
            return (interval.start, interval.end)
        }
        guard members.count == 2, let unit = members["unit"]?.text, let (component, factor) = units[unit] else {
            throw bad()
        }
        if let count = members["last"]?.int, (1...10_000).contains(count),
            let start = calendar.date(byAdding: component, value: -count * factor, to: now)
        {
            return (start, now)
        }
        if let count = members["next"]?.int, (1...10_000).contains(count),
            let end = calendar.date(byAdding: component, value: count * factor, to: now)
        {
            return (now, end)
        }
        throw bad()
    }

    /// The first local day that begins at `moment` or later, as `YYYY-MM-DD`.
    static func firstDay(beginningFrom moment: Date, timeZone: String) -> String {
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = TimeZone(identifier: timeZone) ?? .gmt
        var day = calendar.startOfDay(for: moment)
        if day < moment { day = calendar.startOfDay(for: day.addingTimeInterval(36 * 3600)) }
        let parts = calendar.dateComponents([.year, .month, .day], from: day)
        return String(format: "%04d-%02d-%02d", parts.year!, parts.month!, parts.day!)
    }

    private static let units: [String: (Calendar.Component, Int)] = [
        "hour": (.hour, 1), "day": (.day, 1), "week": (.weekOfYear, 1), "month": (.month, 1), "quarter": (.month, 3),
        "year": (.year, 1),
    ]
}
