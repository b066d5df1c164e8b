import Database
import Foundation

/// Work to be done later, once: a small value that says what, never how.
///
/// A job travels as JSON; keep it to ids and a few numbers. Its name is its contract: rename the type freely, the name
/// never.
public protocol Job: Codable, Sendable {
    /// `service.verb-noun`, such as `analytics.rescore-customer`.
    static var name: String { get }
    /// The queue it waits in, `service.queue`; by default the `default` queue of the service its name begins with.
    static var queue: String { get }
    /// What holds for every job of this type unless an enqueue says otherwise.
    static var options: JobOptions { get }
    /// Jobs of one tenant, queue and key run one at a time, in the order of their commits; jobs of other keys are not
    /// held up. At most 500 bytes; nil, as by default, for none.
    ///
    /// A job holds its turn until it is over: through its retries, until it is done, dead, expired or cancelled. Those
    /// who enqueue jobs of one key wait for each other's commits.
    var serialKey: String? { get }
    /// Of the jobs of a tenant with one key within a window of time only the first is enqueued; nil, as by default, for
    /// any number. A job that is unique so stands in no line.
    var uniqueness: JobUniqueness? { get }
    /// How long it waits between its tries.
    static var retryDelay: RetryDelay { get }
}

extension Job {
    public static var queue: String { name.prefix { $0 != "." } + ".default" }
    public static var options: JobOptions { JobOptions() }
    public var serialKey: String? { nil }
    public var uniqueness: JobUniqueness? { nil }
    public static var retryDelay: RetryDelay { RetryDelay() }
}

/// One job of a key within a window of time: what comes again meanwhile is not enqueued at all.
public struct JobUniqueness: Sendable, Equatable {
    public let key: String
    /// Seconds.
    public let window: TimeInterval

    public init(key: String, window: TimeInterval) {
        self.key = key
        self.window = window
    }
}

/// How long a failed job waits for its next try: longer each time, less a random part of up to a half, so that what
/// failed together does not come back together.
public struct RetryDelay: Sendable, Equatable {
    /// Seconds after the first failure; above 0.
    public var first: TimeInterval
    /// By how much it grows with each; at least 1, which is for ever the same.
    public var factor: Double
    /// Seconds that it grows to.
    public var longest: TimeInterval

    public init(first: TimeInterval = 2, factor: Double = 2, longest: TimeInterval = 3600) {
        precondition(first > 0 && factor >= 1 && longest >= first, "a delay that shrinks, or none")
        (self.first, self.factor, self.longest) = (first, factor, longest)
    }

    /// Seconds after so many failures.
    func seconds(after failures: UInt8) -> TimeInterval {
        min(longest, first * pow(factor, Double(failures) - 1))
    }
}

/// Something that happened, told to whoever subscribed: each subscribing queue gets a job of this name.
///
/// Names are in the past tense, `domain.thing.happened`. An event is published in the transaction of the change that
/// it tells of, so it is told exactly when that change commits.
public protocol Event: Codable, Sendable {
    static var name: String { get }
    /// Puts events of one transaction together, so that an import of thousands tells its story in tens of jobs.
    static func coalesced(_ events: [Self]) -> [Self]
}

extension Event {
    /// The events as they are: a type that can say several in one overrides this.
    public static func coalesced(_ events: [Self]) -> [Self] { events }
}

/// Where a job stands among its tenant's others.
public enum JobPriority: UInt8, Sendable, Codable {
    case high = 0
    case normal = 1
    case low = 2
}

/// What becomes of a job when Redis or a process dies.
public enum JobDurability: Sendable {
    /// Written in the transaction of its cause; its effects happen once, whatever dies.
    case transactional
    /// Lives in Redis alone: faster, and lost with it.
    case ephemeral
}

/// How a job is to be run.
public struct JobOptions: Sendable {
    public var priority: JobPriority = .normal
    /// How often it may fail before it is dead, 255 times at most; a crash of its worker does not count.
    public var maxAttempts = 25
    /// Seconds after which a running job is cancelled, and so fails; 0 for never.
    public var timeout = 300
    /// Milliseconds that a run is expected to take: what its tenant is charged until the true time is known.
    public var cost: Float = 5
    public var durability: JobDurability = .transactional
    /// Its state, progress and result can be read from `/v1/jobs/{id}`.
    public var isTracked = false
    /// Seconds after its time within which it must begin; 0 for any. One that waited longer is settled as expired: its
    /// handler never sees it.
    public var expiry = 0.0

    public init() {}

    /// For a job of many steps: it may take as long as it takes, and its tenant is charged a second beforehand.
    package static let long = JobOptions().with {
        $0.timeout = 0
        $0.cost = 1000
    }

    /// The same options with changes, for a declaration in one line.
    public func with(_ change: (inout JobOptions) -> Void) -> JobOptions {
        var copy = self
        change(&copy)
        return copy
    }
}

/// One job to be enqueued: a job's value with what this enqueue says of it.
package struct PendingJob: Sendable {
    package var id: UUID
    package var name: String
    package var queue: String
    package var payload: [UInt8]
    package var options: JobOptions
    /// Not before this time; nil for at once.
    package var runAt: Date?
    package var traceparent: String?
    /// An event for a queue that gets it only where the tenant wants it so.
    package var isByTenant = false
    /// The group that waits for its end.
    package var group: UUID?
    /// The line it stands in: see `Job.serialKey`. Not for jobs with a `uniqueness`, nor for ephemeral ones.
    package var serialKey: String?
    /// Within a window after it no other job of this tenant with the same key is taken.
    package var uniqueness: JobUniqueness?

    /// Whether it is written at all is decided by the statement that would write it: it can't be pushed before the
    /// relay saw it.
    package var isConditional: Bool { isByTenant || uniqueness != nil }

    /// Goes straight into Redis, without a row. What is tracked, unique, in a line or a group has one whatever its type
    /// says: somebody waits for its end.
    var skipsOutbox: Bool {
        options.durability == .ephemeral && !options.isTracked && group == nil && !isConditional && serialKey == nil
    }

    /// Whether it is in the outbox once its transaction committed: one of a serial key may stand in line instead.
    var isWrittenForSure: Bool { !isConditional && serialKey == nil }

    /// Not to be begun after this time.
    package var expiresAt: Date? {
        options.expiry > 0 ? (runAt ?? id.v7Time).addingTimeInterval(options.expiry) : nil
    }

    /// A job with a fresh id, which is also the time of its enqueue.
    package init(_ job: some Job, runAt: Date? = nil, traceparent: String? = nil) throws {
        self.init(
            name: type(of: job).name, queue: type(of: job).queue, payload: try JobCoding.encode(job),
            options: type(of: job).options, runAt: runAt, traceparent: traceparent)
        uniqueness = job.uniqueness
        serialKey = job.uniqueness == nil ? job.serialKey : nil
    }

    package init(
        id: UUID = .v7(), name: String, queue: String, payload: [UInt8], options: JobOptions = JobOptions(),
        runAt: Date? = nil, traceparent: String? = nil
    ) {
        self.id = id
        self.name = name
        self.queue = queue
        self.payload = payload
        self.options = options
        self.runAt = runAt
        self.traceparent = traceparent
    }
}

/// How jobs and events become bytes.
package enum JobCoding {
    /// JSON with RFC 3339 times.
    package static func encode(_ value: some Encodable) throws -> [UInt8] { try PayloadEncoder.encode(value) }

    /// Reads what `encode` wrote; throws `DecodingError` for anything else.
    package static func decode<Value: Decodable>(_ type: Value.Type, from payload: [UInt8]) throws -> Value {
        try PayloadDecoder.decode(type, from: payload)
    }
}
