import Foundation

/// What a batch is asked to do: operations on records of any types, in order, of which a later one may refer to what an
/// earlier one creates.
///
/// `{"op": "create", "type": "contact", "ref": "a", "body": {…}}`; then `"$a"` stands for the new contact's id in the
/// `id` of a later operation, and in its body wherever an id is the value of a reference, also within the entries of a
/// list. Elsewhere `"$a"` is a text like any other.
package struct RecordBatch: Sendable {
    /// The most operations of one batch.
    package static let most = 100

    /// One operation.
    struct Operation: Sendable {
        enum Kind: String, Sendable, CaseIterable { case create, update, delete }
        let kind: Kind
        let type: RecordType
        let ref: String?
        /// A UUID, or `$` and the name of an earlier creation; nil for a creation.
        let id: String?
        let precondition: Precondition
        let body: [String: JSONValue]
    }

    let operations: [Operation]

    /// Reads the request's body. Throws 422 with every wrong member of every operation.
    package init(_ body: JSONValue, catalogue: Catalogue) throws(Problem) {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        for name in members.keys.sorted() where name != "operations" {
            throw .invalid("/\(name)", "unknown_field", "There is no such field.")
        }
        guard let list = members["operations"]?.array, (1...Self.most).contains(list.count) else {
            throw .invalid("/operations", "not_a_list", "A list of 1 to \(Self.most) operations belongs here.")
        }
        var reading = Reading(catalogue: catalogue)
        for (index, operation) in list.enumerated() { reading.read(operation, at: "/operations/\(index)") }
        if !reading.errors.isEmpty { throw .invalid(reading.errors) }
        operations = reading.operations
    }

    /// The state of reading: names given so far, and what was wrong.
    private struct Reading {
        let catalogue: Catalogue
        var operations: [Operation] = []
        var errors: [FieldError] = []
        private var refs: Set<String> = []

        init(catalogue: Catalogue) { self.catalogue = catalogue }

        mutating func read(_ value: JSONValue, at pointer: String) {
            let before = errors.count
            func fail(_ name: String, _ code: String, _ message: String) {
                errors.append(FieldError(pointer + name, code, message))
            }
            guard let members = value.object else { return fail("", "not_an_object", "An operation is an object.") }
            let kind = members["op"]?.text.flatMap(Operation.Kind.init(rawValue:))
            if kind == nil { fail("/op", "not_a_choice", "One of: create, update, delete.") }
            let type = members["type"]?.text.flatMap { catalogue.type(named: $0) }
            if type == nil {
                let names = catalogue.types.map(\.name).joined(separator: ", ")
                fail("/type", "not_a_choice", "One of: \(names).")
            }
            guard let kind, let type else { return }
            let known: Set<String> =
                switch kind {
                case .create: ["op", "type", "ref", "body"]
                case .update: ["op", "type", "id", "if_match", "body"]
                case .delete: ["op", "type", "id", "if_match"]
                }
            for name in members.keys.sorted() where !known.contains(name) {
                fail("/\(name)", "unknown_field", "\(kind.rawValue) holds \(known.sorted().joined(separator: ", ")).")
            }
            let allowed: RecordType.Operation = [.create: .create, .update: .update, .delete: .delete][kind]!
            if !type.operations.contains(allowed) {
                fail("/op", "not_allowed", "\(kind.rawValue) is nothing that \(type.plural) take.")
            }
            var body: [String: JSONValue] = [:]
            if kind != .delete {
                if let given = members["body"]?.object {
                    body = given
                } else {
                    fail("/body", "not_an_object", "An object belongs here.")
                }
            }
            var id: String?
            var precondition = Precondition.any
            if kind != .create {
                id = members["id"]?.text
                if !isID(id) {
                    fail("/id", "not_an_id", "A UUID, or $ and the ref of an earlier creation, belongs here.")
                }
                switch members["if_match"] {
                case .string("*")?: break
                case let version? where version.int.map({ $0 > 0 }) == true: precondition = .version(version.int!)
                default: fail("/if_match", "required", "The version that was seen, or \"*\" for any, belongs here.")
                }
            }
            let ref = members["ref"]
            if kind == .create, let ref {
                if ref.text.map(RecordBatch.isName) != true {
                    fail("/ref", "not_a_ref", "1 to 40 letters, digits, - or _ belong here.")
                } else if !refs.insert(ref.text!).inserted {
                    fail("/ref", "not_unique", "An earlier operation has this ref.")
                }
            }
            if errors.count > before { return }
            operations.append(
                Operation(
                    kind: kind, type: type, ref: kind == .create ? ref?.text : nil, id: id,
                    precondition: precondition, body: body))
        }

        private func isID(_ text: String?) -> Bool {
            guard let text else { return false }
            return UUID(uuidString: text) != nil
                || (text.hasPrefix("$") && RecordBatch.isName(String(text.dropFirst())))
        }
    }

    private static func isName(_ text: String) -> Bool {
        (1...40).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95
            }
    }

    /// A body with the ids that its references name. Throws with the pointer of one that no earlier operation made.
    static func resolved(
        _ body: [String: JSONValue], fields: [Field], _ made: [String: UUID], at pointer: String = ""
    ) throws(FieldError) -> [String: JSONValue] {
        var body = body
        for field in fields {
            guard let value = body[field.name] else { continue }
            let place = "\(pointer)/\(field.name)"
            switch field.kind {
            case .reference, .foreignID:
                guard let text = value.text, text.hasPrefix("$") else { continue }
                body[field.name] = .string(try id(text, made, at: place).lowercased)
            case .list(let inner, _):
                guard let entries = value.array else { continue }
                var resolved: [JSONValue] = []
                for (index, entry) in entries.enumerated() {
                    guard let members = entry.object else {
                        resolved.append(entry)
                        continue
                    }
                    resolved.append(
                        .object(try Self.resolved(members, fields: inner, made, at: "\(place)/\(index)")))
                }
                body[field.name] = .array(resolved)
            default: continue
            }
        }
        return body
    }

    /// The id that `text` is or names.
    static func id(_ text: String, _ made: [String: UUID], at pointer: String) throws(FieldError) -> UUID {
        if let id = UUID(uuidString: text) { return id }
        guard let id = made[String(text.dropFirst())] else {
            throw FieldError(pointer, "unknown_ref", "No earlier operation of the batch creates \(text.prefix(41)).")
        }
        return id
    }
}
