import Foundation
import Records
import Tenancy

/// The grants of a role as they were given, and what they mean.
struct RoleGrants: Sendable {
    let json: JSONValue
    let grants: [Grant]

    /// Reads a list of grants. Throws 422 for one that is none, that names something unknown, or that says nothing.
    init(_ value: JSONValue?) throws(Problem) {
        guard let entries = value?.array, (1...100).contains(entries.count) else {
            throw .invalid("/grants", "not_a_list", "A list of 1 to 100 grants belongs here.")
        }
        var grants: [Grant] = []
        for (index, entry) in entries.enumerated() { grants.append(try Self.grant(entry, at: "/grants/\(index)")) }
        json = .array(entries)
        self.grants = grants
    }

    private static func grant(_ entry: JSONValue, at pointer: String) throws(Problem) -> Grant {
        guard let members = entry.object else { throw .invalid(pointer, "not_an_object", "An object belongs here.") }
        guard let grant = try? JSONDecoder().decode(Grant.self, from: Data(entry.encodedBytes)),
            let written = try? JSONEncoder().encode(grant),
            let known = try? JSONParser.parse(Array(written)).object
        else {
            throw .invalid(
                pointer, "not_a_grant",
                "A grant has types, actions (\(Action.allCases.map(\.rawValue).joined(separator: ", "))) and a scope "
                    + "(own, team, all).")
        }
        // What a grant does not know would not be enforced: it is refused rather than kept.
        if let unknown = members.keys.sorted().first(where: { known[$0] == nil }) {
            throw .invalid("\(pointer)/\(unknown)", "unknown_field", "There is no such field.")
        }
        guard (1...100).contains(grant.types.count), !grant.actions.isEmpty, grant.types.allSatisfy(isType) else {
            throw .invalid("\(pointer)/types", "not_a_type", "Names of record types belong here, or *.")
        }
        return grant
    }

    private static func isType(_ name: String) -> Bool {
        name == "*" || name.wholeMatch(of: #/[a-z][a-z_]{0,62}/#) != nil
    }
}
