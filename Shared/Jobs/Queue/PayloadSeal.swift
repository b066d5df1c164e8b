import Database
import Foundation
import Logging

/// A tenant's key for what its jobs carry.
package protocol PayloadKey: Sendable {
    /// `payload` as nobody reads it without the key; it opens for `job` alone.
    func seal(_ payload: [UInt8], for job: UUID) -> [UInt8]
    /// What was sealed for `job`; nil under another key, for another job, or when a bit of it was changed.
    func open(_ sealed: [UInt8], for job: UUID) -> [UInt8]?
}

/// Where the tenants' keys are.
package protocol PayloadKeyring: Sendable {
    /// The key of a tenant, made when it has none. Throws where none can be had.
    func payloadKey(of tenant: TenantID) async throws -> any PayloadKey
}

/// Seals what jobs carry for as long as they lie in Redis, in its log and in its backups: row security ends at the
/// database, and an erasure there does not reach them. With the tenant's key what it carries is erased everywhere.
package struct PayloadSeal: Sendable {
    private let keyring: (any PayloadKeyring)?
    private let logger: Logger

    /// - Parameter keyring: nil leaves payloads open.
    package init(_ keyring: (any PayloadKeyring)?, logger: Logger) {
        self.keyring = keyring
        self.logger = logger
    }

    /// The jobs with their payloads sealed, each with its tenant's key.
    ///
    /// Where a key can't be had, a transactional job goes without its payload, which its worker then reads in the
    /// outbox: one tenant's lost key holds up nobody. An ephemeral one has nothing else; for it this throws.
    func sealed(_ jobs: [(JobEnvelope, runAt: Date?)]) async throws -> [(JobEnvelope, runAt: Date?)] {
        guard let keyring else { return jobs }
        var sealed = jobs
        var last: (tenant: TenantID, key: (any PayloadKey)?)?
        for position in sealed.indices {
            let job = sealed[position].0
            if job.payloadIsElsewhere { continue }
            if last?.tenant != job.tenant {
                do { last = (job.tenant, try await keyring.payloadKey(of: job.tenant)) } catch {
                    if job.isEphemeral { throw error }
                    logger.warning(
                        "a tenant's key is not to be had, what its jobs carry stays in the database",
                        metadata: ["tenant": "\(job.tenant)", "error": "\(error)"])
                    last = (job.tenant, nil)
                }
            }
            if let key = last?.key {
                sealed[position].0.payload = key.seal(job.payload, for: job.id)
                sealed[position].0.payloadIsSealed = true
            } else {
                sealed[position].0.payload = []
                sealed[position].0.payloadIsElsewhere = true
            }
        }
        return sealed
    }

    /// What a job carries; nil when it is sealed and does not open here.
    func opened(_ job: JobEnvelope) async -> [UInt8]? {
        guard job.payloadIsSealed else { return job.payload }
        return try? await keyring?.payloadKey(of: job.tenant).open(job.payload, for: job.id)
    }
}
