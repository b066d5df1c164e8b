@testable import Jobs

/// A fault that is put into the code on purpose: the simulation must find it.
struct Mutation: Sendable, CustomStringConvertible {
    /// What is changed.
    enum Change: Sendable, Equatable {
        /// A piece of the scripts' source.
        case script(String, String)
        /// The inbox takes a job's claim though another's stands.
        case inboxTakesDuplicates
        /// The relay follows the outbox by what has committed when it looks, and not by what still may.
        case relaySkipsLateCommits
        /// A repair raises the epoch and sends nothing again.
        case repairForgets
        /// A refused job is not noted in the backlog.
        case refusedAreForgotten
        /// Nothing brings back a try that was put off.
        case retriesAreForgotten
        /// Jobs of one serial key go into the outbox as they come.
        case linesAreIgnored
        /// A worker goes on under a lease of which an older Redis says what was true a while ago.
        case outdatedLeaseGoesOn
        /// The end of a turn gives it to nobody.
        case turnsEndForNobody
    }

    let description: String
    let change: Change

    init(_ description: String, _ change: Change) {
        self.description = description
        self.change = change
    }

    /// Each of them is found by the test of the tests.
    static let all = [
        Mutation(
            "an acknowledged job stays held", .script("redis.call('HDEL', held, unpack(ARGV, 6, 5 + done))", "")),
        Mutation("a done job stays known", .script("redis.call('SREM', P .. 'u', unpack(ARGV, 6, 5 + listed))", "")),
        Mutation(
            "a fetch does not count the running",
            .script("s.running = s.running + 1\n", "\n")),
        Mutation(
            "a tenant goes back in line with the least start", .script("math.max(shard.vt, s.finish), id)", "0, id)")),
        Mutation(
            "virtual time goes back", .script("shard.vt = math.max(shard.vt, best.at)", "shard.vt = best.at - 10")),
        Mutation("a start costs no token", .script("if s.rate > 0 then s.tokens = s.tokens - 1 end", "")),
        Mutation(
            "a cap is one too many",
            .script("(cap == 0 or s.running < cap)", "(cap == 0 or s.running <= cap)")),
        Mutation("a held tenant runs", .script("waiting(s) > 0 and not s.held and", "waiting(s) > 0 and")),
        Mutation("a sweep forgets what it takes", .script("put(tenant, blob, true)\n", "\n")),
        Mutation(
            "an ended job wakes nobody",
            .script("for tenant in pairs(freed) do activate(tenant) end\n", "\n")),
        Mutation("a start is not charged", .script("best.at = best.at + math.max(0, cost + s.owed) / s.weight", "")),
        Mutation(
            "known jobs are taken again",
            .script("if known[i] == 0 and not taken[ids[i]] then", "if not taken[ids[i]] then")),
        Mutation("an unknown worker may fetch", .script("not redis.call('ZSCORE', P .. 'wk', worker)", "false")),
        Mutation("the inbox takes duplicates", .inboxTakesDuplicates),
        Mutation("the relay skips late commits", .relaySkipsLateCommits),
        Mutation("a repair sends nothing again", .repairForgets),
        Mutation("what is refused is not noted", .refusedAreForgotten),
        Mutation("tries that were put off stay there", .retriesAreForgotten),
        Mutation("a lease outlives its data set", .outdatedLeaseGoesOn),
        Mutation("jobs of a serial key run as they come", .linesAreIgnored),
        Mutation("the end of a turn gives it to nobody", .turnsEndForNobody),
    ]
}
