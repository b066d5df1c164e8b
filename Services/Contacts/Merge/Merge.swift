import Database
import Foundation
import Records

/// Two contacts becoming one: a pure decision, field by field.
struct Merge: Sendable {
    /// Whose value a field of the merged contact gets.
    enum Choice: String, Sendable, CaseIterable { case survivor, merged }

    let survivor: Record
    let merged: Record
    /// Chosen by the caller; every other field decides itself.
    let choices: [String: Choice]

    /// What changes on the survivor. Where nothing was chosen its own value stays, an empty one is filled from the
    /// other contact, and lists are united.
    var values: [String: [String?]] {
        var values: [String: [String?]] = [:]
        for field in Contact.type.fields where !field.isReadOnly {
            let (own, others) = (survivor.values[field.name] ?? [], merged.values[field.name] ?? [])
            if own == others { continue }
            switch choices[field.name] {
            case .survivor: continue
            case .merged: values[field.name] = others
            case nil:
                if isEmpty(own) {
                    values[field.name] = others
                } else if let united = united(field, own, others), united != own {
                    values[field.name] = united
                }
            }
        }
        // An id that another system knows one of them by stays with its source: the two are chosen together.
        let chosen = choices["external_id"] ?? choices["source"]
        let takesOrigin = chosen.map { $0 == .merged } ?? (survivor.text("external_id") == nil)
        for name in ["source", "external_id"] {
            values[name] = takesOrigin && survivor.values[name] != merged.values[name] ? merged.values[name] : nil
        }
        // Whoever asked not to be contacted under one of the two records has asked so.
        if choices["do_not_contact"] == nil, survivor.bool("do_not_contact") != merged.bool("do_not_contact") {
            values["do_not_contact"] = ["t"]
        }
        return values
    }

    private func isEmpty(_ columns: [String?]) -> Bool {
        columns.allSatisfy { $0 == nil || $0 == "[]" }
    }

    /// The survivor's entries and those of the other that it lacks; at most as many as the field takes.
    private func united(_ field: Field, _ own: [String?], _ others: [String?]) -> [String?]? {
        if case .custom = field.kind {
            // Each custom field is one of its own: the survivor's stay, those that it lacks are filled.
            guard let mine = survivor.json(field.name)?.object, let theirs = merged.json(field.name)?.object else {
                return nil
            }
            return [JSONValue.object(mine.merging(theirs) { own, _ in own }).encoded]
        }
        let maximum: Int
        switch field.kind {
        case .list(_, let max): maximum = max
        case .tags(let max): maximum = max
        default: return nil
        }
        guard let mine = list(own), let theirs = list(others) else { return nil }
        let known = Set(mine.map(key))
        let new = theirs.filter { !known.contains(key($0)) }.map { entry -> JSONValue in
            guard case .object(var members) = entry else { return entry }
            // One of a kind is first: the survivor's.
            if members["primary"] != nil && !mine.isEmpty { members["primary"] = false }
            return .object(members)
        }
        return [JSONValue.array(Array((mine + new).prefix(maximum))).encoded]
    }

    private func list(_ columns: [String?]) -> [JSONValue]? {
        (columns.first ?? nil).flatMap { try? JSONParser.parse($0.utf8) }?.array
    }

    /// What makes two entries one: their value, or all they say.
    private func key(_ entry: JSONValue) -> String { (entry["value"] ?? entry).encoded }
}
