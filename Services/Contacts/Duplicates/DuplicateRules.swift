import Database
import Matching
import Records

/// What is asked before a contact is created.
enum DuplicateRules {
    /// From here on a creation is refused: nine times in ten it would be the same person.
    private static let refusing = 0.9

    static let likeness = LikenessRules(
        index: { draft, tenant in [DuplicateStore.index([MatchProfile(draft.record)], tenant: tenant)] },
        find: { draft, transaction in
            let profile = MatchProfile(draft.record)
            let ids = try await DuplicateStore.candidates([profile], in: transaction)[0]
            let known = try await DuplicateStore.profiles(Set(ids), in: transaction)
            if known.isEmpty { return [] }
            let model = try await DuplicateStore.model(in: transaction)
            let candidates = ids.compactMap { known[$0] }
            return zip(candidates, model.scores(profile, against: candidates))
                .filter { $0.1.probability >= refusing }
                .sorted { $0.1.probability > $1.1.probability }
                .prefix(10)
                .map { candidate, score in
                    [
                        "id": .string(candidate.id.uuidString.lowercased()),
                        "display_name": JSONValue(candidate.displayName),
                        "score": .number("\(score.probability)"), "explanation": score.json,
                    ]
                }
        })
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
