import Database
import Matching
import Records
import Tenancy

/// What is asked before a contact is created.
enum DuplicateRules {
    /// From here on a creation is refused: nine times in ten it would be the same person.
    private static let refusing = 0.9

    static let likeness = LikenessRules(compares: Set(MatchProfile.identifyingFields)) { draft, tenant in
        let profile = MatchProfile(draft.record)
        let keys = DuplicateStore.keys(profile, tenant)
        return Likeness(
            index: [DuplicateStore.add(profile.id, keys: keys, tenant: tenant)],
            reads: DuplicateStore.search(keys: keys, tenant: tenant),
            judge: { rows in judge(profile, rows, tenant) })
    }

    private static func judge(_ profile: MatchProfile, _ rows: [Rows], _ tenant: TenantID) -> [JSONValue] {
        let candidates = (0..<rows[0].count).map { MatchProfile(rows[0], $0) }
        if candidates.isEmpty { return [] }
        let model = DuplicateStore.model(of: tenant, rows.dropFirst().first)
        return zip(candidates, model.scores(profile, against: candidates))
            .filter { $0.1.probability >= refusing }
            .sorted { $0.1.probability > $1.1.probability }
            .prefix(10)
            .map { candidate, score in
                [
                    "id": .string(candidate.id.lowercased),
                    "display_name": JSONValue(candidate.displayName),
                    "score": .number("\(score.probability)"), "explanation": score.json,
                ]
            }
    }
}

extension MatchScore {
    /// The reasons, strongest first; with the prior their weights add up to log2 of the odds.
    var json: JSONValue {
        .array(
            explanation.sorted { abs($0.bits) > abs($1.bits) }.map { reason in
                [
                    "field": .string(reason.field), "left": JSONValue(reason.left), "right": JSONValue(reason.right),
                    "agreement": .string(reason.level), "weight": .number("\(reason.bits)"),
                ]
            })
    }
}
