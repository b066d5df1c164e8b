import ArgumentParser
import Database
import Tenancy

extension Tenants {
    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Changes a tenant's plan, its weight among the others, or how many requests it may make.",
            discussion: """
                What is left out stays as it is. It holds at once; what a queue's share says of the tenant goes before its
                weight (`guanxi queues share`). Metrics tell tenants apart by their plan.

                Example:
                  guanxi tenants change acme --plan premium --weight 2
                """)
        @Argument(help: "The tenant's slug.") var slug: String
        @Option(help: "What it pays for, in a word: small letters, digits and hyphens.") var plan: String?
        @Option(help: "Its share of running time in every queue; 1 is the usual.") var weight: Double?
        @Option(help: "Requests a second that the tenant may make.") var requestsPerSecond: Int?
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            if plan == nil && weight == nil && requestsPerSecond == nil {
                throw WrongCall("say what is to change: --plan, --weight or --requests-per-second")
            }
            if let weight, !(weight > 0 && weight <= 1000) { throw WrongCall("weight is above 0 and at most 1000") }
            let session = try await OperatorSession()
            defer { session.close() }
            let directory = TenantDirectory(owner: session.owner)
            let id = try await tenant(slug, directory)
            let change = TenantDirectory.Change(plan: plan, weight: weight, requestsPerSecond: requestsPerSecond)
            try await creating(slug) { try await directory.change(slug: slug, change) }
            if weight != nil {
                await Tenants.tellRedis("workers learn of it within a minute") {
                    try await session.queues.applyShares(of: id)
                }
            }
            try show(try await directory.list(slug: slug), json: json)
        }
    }
}
