import Database
import Foundation

/// A job as it lies in Redis: a header that the scripts read, then what only workers read.
///
/// Layout, little endian: id (16 bytes), attempts (1), crashes (1), priority (1), flags (1), cost (4, float of
/// milliseconds); then tenant (8), max attempts (2), timeout (4), where the flags say so expiry (8, ms since 1970) and
/// group (16), and with their lengths before them the origin schema, name, traceparent (2 bytes of length each) and
/// payload (4).
package struct JobEnvelope: Sendable, Equatable {
    package var id: UUID
    package var attempts: UInt8 = 0
    /// How often a worker died while it ran this job.
    package var crashes: UInt8 = 0
    /// Its workers died twice with others that had also been in a death: it is not run beside such again, so that the
    /// next death says whose fault it is.
    package var runsAlone = false
    package var priority: JobPriority
    package var cost: Float
    package var tenant: TenantID
    package var isEphemeral: Bool
    package var isTracked: Bool
    /// The payload was too long for Redis and waits in the origin's outbox.
    package var payloadIsElsewhere: Bool
    /// The payload is sealed with its tenant's key.
    package var payloadIsSealed = false
    package var maxAttempts: UInt16
    package var timeout: UInt32
    /// Not to be begun after this time.
    package var expiresAt: Date?
    /// The group that waits for the job's end.
    package var group: UUID?
    /// Others of its serial key wait for its end.
    package var isSerial: Bool
    /// The schema whose outbox holds the job.
    package var origin: String
    package var name: String
    package var traceparent: String
    package var payload: [UInt8]

    /// Its end must be known by itself: to who tracks it, to its group, to the next of its key.
    var isAwaited: Bool { isTracked || group != nil || isSerial }

    /// Payloads above this many bytes stay in PostgreSQL.
    package static let inlineLimit = 4096

    private enum Flags {
        static let ephemeral: UInt8 = 1
        static let tracked: UInt8 = 2
        static let elsewhere: UInt8 = 4
        static let expires: UInt8 = 8
        static let grouped: UInt8 = 16
        /// Set by the sweep (`QueueScripts.sweep`).
        static let alone: UInt8 = 32
        static let sealed: UInt8 = 64
        static let serial: UInt8 = 128
    }

    package init(_ job: PendingJob, tenant: TenantID, origin: String) {
        id = job.id
        priority = job.options.priority
        cost = job.options.cost
        self.tenant = tenant
        isEphemeral = job.skipsOutbox
        isTracked = job.options.isTracked
        payloadIsElsewhere = !isEphemeral && job.payload.count > Self.inlineLimit
        // Attempts are counted in a byte.
        maxAttempts = UInt16(min(max(1, job.options.maxAttempts), Int(UInt8.max)))
        timeout = UInt32(clamping: job.options.timeout)
        expiresAt = job.expiresAt
        group = job.group
        isSerial = job.serialKey != nil
        self.origin = origin
        name = job.name
        traceparent = job.traceparent ?? ""
        payload = payloadIsElsewhere ? [] : job.payload
    }

    /// Reads what `encoded` wrote; nil when the bytes are not an envelope.
    package init?(_ bytes: [UInt8]) {
        let read = bytes.withUnsafeBytes { Fields(reading: $0) }
        guard let read, let priority = JobPriority(rawValue: read.priority) else { return nil }
        id = read.id
        attempts = read.attempts
        crashes = read.crashes
        self.priority = priority
        cost = Float(bitPattern: read.cost)
        tenant = TenantID(read.tenant)
        isEphemeral = read.flags & Flags.ephemeral != 0
        isTracked = read.flags & Flags.tracked != 0
        runsAlone = read.flags & Flags.alone != 0
        payloadIsElsewhere = read.flags & Flags.elsewhere != 0
        payloadIsSealed = read.flags & Flags.sealed != 0
        maxAttempts = read.maxAttempts
        timeout = read.timeout
        expiresAt = read.expiry.map { Date(timeIntervalSince1970: Double($0) / 1000) }
        group = read.group
        isSerial = read.flags & Flags.serial != 0
        origin = read.origin
        name = read.name
        traceparent = read.traceparent
        payload = read.payload
    }

    /// The bytes that go to Redis.
    package var encoded: [UInt8] {
        var flags: UInt8 = 0
        if isEphemeral { flags |= Flags.ephemeral }
        if isTracked { flags |= Flags.tracked }
        if payloadIsElsewhere { flags |= Flags.elsewhere }
        if expiresAt != nil { flags |= Flags.expires }
        if group != nil { flags |= Flags.grouped }
        if runsAlone { flags |= Flags.alone }
        if payloadIsSealed { flags |= Flags.sealed }
        if isSerial { flags |= Flags.serial }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(80 + origin.utf8.count + name.utf8.count + traceparent.utf8.count + payload.count)
        bytes.append(id)
        bytes += [attempts, crashes, priority.rawValue, flags]
        bytes.append(integer: cost.bitPattern)
        bytes.append(integer: tenant.rawValue)
        bytes.append(integer: maxAttempts)
        bytes.append(integer: timeout)
        if let expiresAt { bytes.append(integer: Int64(expiresAt.timeIntervalSince1970 * 1000)) }
        if let group { bytes.append(group) }
        for text in [origin, name, traceparent] {
            bytes.append(integer: UInt16(text.utf8.count))
            bytes.append(contentsOf: text.utf8)
        }
        bytes.append(integer: UInt32(payload.count))
        bytes.append(contentsOf: payload)
        return bytes
    }

    /// The envelope's parts, as the bytes have them.
    private struct Fields {
        let id: UUID
        let attempts, crashes, priority, flags: UInt8
        let cost: UInt32
        let tenant: Int64
        let maxAttempts: UInt16
        let timeout: UInt32
        var expiry: Int64?
        var group: UUID?
        let origin, name, traceparent: String
        let payload: [UInt8]

        init?(reading buffer: UnsafeRawBufferPointer) {
            var reader = Reader(rest: buffer[...])
            guard let id = reader.uuid(), let attempts = reader.integer(UInt8.self),
                let crashes = reader.integer(UInt8.self), let priority = reader.integer(UInt8.self),
                let flags = reader.integer(UInt8.self), let cost = reader.integer(UInt32.self),
                let tenant = reader.integer(Int64.self), let maxAttempts = reader.integer(UInt16.self),
                let timeout = reader.integer(UInt32.self)
            else { return nil }
            if flags & Flags.expires != 0 {
                guard let expiry = reader.integer(Int64.self) else { return nil }
                self.expiry = expiry
            }
            if flags & Flags.grouped != 0 {
                guard let group = reader.uuid() else { return nil }
                self.group = group
            }
            guard let origin = reader.text(), let name = reader.text(), let traceparent = reader.text(),
                let length = reader.integer(UInt32.self), let payload = reader.take(Int(length))
            else { return nil }
            (self.id, self.attempts, self.crashes, self.priority, self.flags) = (id, attempts, crashes, priority, flags)
            (self.cost, self.tenant, self.maxAttempts, self.timeout) = (cost, tenant, maxAttempts, timeout)
            (self.origin, self.name, self.traceparent, self.payload) = (origin, name, traceparent, Array(payload))
        }
    }

    private struct Reader {
        var rest: Slice<UnsafeRawBufferPointer>

        mutating func take(_ count: Int) -> Slice<UnsafeRawBufferPointer>? {
            guard count >= 0, count <= rest.count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count)
        }

        mutating func integer<Integer: FixedWidthInteger>(_: Integer.Type) -> Integer? {
            guard let slice = take(MemoryLayout<Integer>.size) else { return nil }
            return Integer(littleEndian: UnsafeRawBufferPointer(rebasing: slice).loadUnaligned(as: Integer.self))
        }

        mutating func uuid() -> UUID? {
            guard let slice = take(16) else { return nil }
            return UUID(uuid: UnsafeRawBufferPointer(rebasing: slice).loadUnaligned(as: uuid_t.self))
        }

        mutating func text() -> String? {
            guard let length = integer(UInt16.self), let slice = take(Int(length)) else { return nil }
            return String(decoding: slice, as: UTF8.self)
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(integer value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    fileprivate mutating func append(_ id: UUID) {
        Swift.withUnsafeBytes(of: id.uuid) { append(contentsOf: $0) }
    }
}
