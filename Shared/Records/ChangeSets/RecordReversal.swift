import Foundation

/// What undoing a change set means for one of its records: a pure decision, from what the set did and what is there now.
struct RecordReversal: Sendable {
    /// Why a record can't be brought back to what it was before the set.
    struct Conflict: Sendable {
        let record: UUID
        let type: String
        /// The field that has changed since; nil when it is the record as a whole.
        var field: String?
        /// `changed_since`, `deleted_since`, `restored_since`, `erased`, `too_late`, `not_undoable` or a rule's code.
        let code: String
        var expected: JSONValue = .null
        var current: JSONValue = .null
        var message: String?

        var json: JSONValue {
            [
                "record_type": .string(type), "record_id": .string(record.lowercased), "field": JSONValue(field),
                "code": .string(code), "expected": expected, "current": current, "message": JSONValue(message),
            ]
        }
    }

    /// What is to be done with the record as it stands.
    enum Decision: Sendable {
        case nothing
        case conflicts([Conflict])
        /// Set these columns, then delete it or bring it back where its life differs; some fields stay as they are now.
        case change(values: [String: [String?]], life: Life, except: [Conflict])
    }

    /// What becomes of the record itself.
    enum Life: Sendable { case stays, ends, returns }

    let type: RecordType
    /// What the set did with the record, in order; never empty.
    let entries: [HistoryEntry]
    /// What other sets that are still in effect have done with the record since. Its values alone do not tell: a field
    /// may have gone from A to B, to C, and to B again.
    let since: [HistoryEntry]

    var key: RecordKey { entries[0].key }
    private var isCreation: Bool { entries[0].kind == .create }
    private var livedBefore: Bool { entries[0].kind == .update || entries[0].kind == .delete }
    private var livesAfter: Bool { entries.last!.kind != .delete }

    /// The record can be put back when nothing that the set touched has been touched since: then every field returns to
    /// what it was. Fields that the service sets itself never conflict: they follow the others.
    func decide(current: Record?) -> Decision {
        // What an erasure took is gone from the history too.
        guard let current, !(entries + since).contains(where: { $0.kind == .erase }) else {
            return .conflicts([conflict("erased")])
        }
        let lives = current.deletedAt == nil
        if lives != livesAfter || since.contains(where: { $0.kind != .update }) {
            return .conflicts([conflict(lives ? "restored_since" : "deleted_since")])
        }
        if !lives, livedBefore, let deleted = current.deletedAt, deleted < Date(timeIntervalSinceNow: -30 * 86_400) {
            return .conflicts([conflict("too_late")])
        }
        // What ends takes every later change with it.
        if lives && !livedBefore && !since.isEmpty { return .conflicts([conflict("changed_since")]) }
        var conflicts: [Conflict] = []
        var values: [String: [String?]] = [:]
        let touched = self.touched
        let touchedSince = Set(since.flatMap(\.changes.keys))
        for field in type.fields {
            let expected: [String?]
            if let change = touched[field.name] {
                expected = RecordJSON.columns(of: field, change.to)
                if RecordJSON.isSame(current.values[field.name], expected, of: field) {
                    values[field.name] = RecordJSON.columns(of: field, change.from)
                }
            } else if isCreation {
                expected = field.columns.map { _ in nil }
            } else {
                continue
            }
            guard !field.isReadOnly, let now = current.values[field.name] else { continue }
            if RecordJSON.isSame(now, expected, of: field) && !touchedSince.contains(field.name) { continue }
            var found = conflict("changed_since", field.name)
            found.expected = RecordJSON.value(of: field, columns: expected)
            found.current = RecordJSON.value(of: field, columns: now)
            conflicts.append(found)
        }
        if isCreation {
            // What was created goes whole or not at all.
            if !conflicts.isEmpty { return .conflicts(conflicts) }
            return lives ? .change(values: [:], life: .ends, except: []) : .nothing
        }
        for conflict in conflicts { values[conflict.field!] = nil }
        let life: Life = lives == livedBefore ? .stays : lives ? .ends : .returns
        return .change(values: values, life: life, except: conflicts)
    }

    /// A conflict with this record.
    func conflict(_ code: String, _ field: String? = nil, message: String? = nil) -> Conflict {
        Conflict(record: key.id, type: type.name, field: field, code: code, message: message)
    }

    /// Each field's first value and its last, over the whole set.
    private var touched: [String: (from: JSONValue, to: JSONValue)] {
        var touched: [String: (from: JSONValue, to: JSONValue)] = [:]
        for entry in entries {
            for (name, change) in entry.changes {
                touched[name] = (touched[name]?.from ?? change.from, change.to)
            }
        }
        return touched
    }
}
