import Database
import Foundation

extension Outbox {
    /// Settles a job that leaves nothing else in the database. Such jobs of one tenant that end at the same time are
    /// settled by one transaction: a commit costs more than all that a claim writes.
    func settle(_ job: UUID, _ tenant: TenantID) async throws(DatabaseError) {
        try await claims.join((tenant, job))
    }

    /// How it ended for each of several jobs. Where one of a tenant's is settled already, each is tried alone.
    static func claim(
        _ jobs: [(tenant: TenantID, job: UUID)], schema: String, database: Database
    ) async -> [Result<Void, DatabaseError>] {
        func insert(_ ids: [UUID], _ tenant: TenantID) async -> Result<Void, DatabaseError> {
            do {
                _ = try await database.query(
                    tenant: tenant,
                    Statement(
                        "insert into \(schema).inbox (job_id, tenant_id, outcome) select id, $1, $3 from unnest($2::uuid[]) id",
                        [
                            tenant.parameter, .array(ids.map(\.lowercased)), .int(JobContext.Settlement.done.rawValue),
                        ]))
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        let tenants = Dictionary(grouping: jobs.indices) { jobs[$0].tenant }
        return await withTaskGroup(of: [(Int, Result<Void, DatabaseError>)].self) { group in
            for (tenant, positions) in tenants {
                group.addTask {
                    let all = await insert(positions.map { jobs[$0].job }, tenant)
                    guard positions.count > 1, case .failure(let error) = all, error.isInboxDuplicate else {
                        return positions.map { ($0, all) }
                    }
                    var each: [(Int, Result<Void, DatabaseError>)] = []
                    for position in positions { each.append((position, await insert([jobs[position].job], tenant))) }
                    return each
                }
            }
            var results = [Result<Void, DatabaseError>](repeating: .success(()), count: jobs.count)
            for await part in group { for (position, result) in part { results[position] = result } }
            return results
        }
    }
}
