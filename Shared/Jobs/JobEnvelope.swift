import Database
import Foundation

/// A job as it lies in Redis: a header that the scripts read, then what only workers read.
///
/// Layout, little endian: id (16 bytes), attempts (1), crashes (1), priority (1), reserved (1), cost (4, float of
/// milliseconds); then tenant (8), flags (1), max attempts (2), timeout (4), and with their lengths before them the
/// origin schema, name, traceparent (2 bytes of length each) and payload (4).
package struct JobEnvelope: Sendable, Equatable {
    package var id: UUID
    package var attempts: UInt8 = 0
    package var crashes: UInt8 = 0
    package var priority: JobPriority
    package var cost: Float
    package var tenant: TenantID
    package var isEphemeral: Bool
    package var isTracked: Bool
    /// The payload was too long for Redis and waits in the origin's outbox.
    package var payloadIsElsewhere: Bool
    package var maxAttempts: UInt16
    package var timeout: UInt32
    /// The schema whose outbox holds the job.
    package var origin: String
    package var name: String
    package var traceparent: String
    package var payload: [UInt8]

    /// Payloads above this many bytes stay in PostgreSQL.
    package static let inlineLimit = 4096

    package init(_ job: PendingJob, tenant: TenantID, origin: String) {
        id = job.id
        priority = job.options.priority
        cost = job.options.cost
        self.tenant = tenant
        isEphemeral = job.options.durability == .ephemeral
        isTracked = job.options.isTracked
        payloadIsElsewhere = !isEphemeral && job.payload.count > Self.inlineLimit
        maxAttempts = UInt16(clamping: job.options.maxAttempts)
        timeout = UInt32(clamping: job.options.timeout)
        self.origin = origin
        name = job.name
        traceparent = job.traceparent ?? ""
        payload = payloadIsElsewhere ? [] : job.payload
    }

    /// Reads what `encoded` wrote; nil when the bytes are not an envelope.
    package init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes: bytes)
        guard let id = reader.take(16).flatMap({ UUID(rawBytes: $0) }), let counters = reader.take(4).map(Array.init),
            let priority = JobPriority(rawValue: counters[2]), let cost = reader.integer(UInt32.self),
            let tenant = reader.integer(Int64.self), let flags = reader.take(1)?.first,
            let maxAttempts = reader.integer(UInt16.self), let timeout = reader.integer(UInt32.self),
            let origin = reader.text(), let name = reader.text(), let traceparent = reader.text(),
            let length = reader.integer(UInt32.self), let payload = reader.take(Int(length))
        else { return nil }
        self.id = id
        attempts = counters[0]
        crashes = counters[1]
        self.priority = priority
        self.cost = Float(bitPattern: cost)
        self.tenant = TenantID(tenant)
        isEphemeral = flags & 1 != 0
        isTracked = flags & 2 != 0
        payloadIsElsewhere = flags & 4 != 0
        self.maxAttempts = maxAttempts
        self.timeout = timeout
        self.origin = origin
        self.name = name
        self.traceparent = traceparent
        self.payload = Array(payload)
    }

    /// The bytes that go to Redis.
    package var encoded: [UInt8] {
        var bytes = id.rawBytes
        bytes.reserveCapacity(64 + origin.utf8.count + name.utf8.count + traceparent.utf8.count + payload.count)
        bytes += [attempts, crashes, priority.rawValue, 0]
        bytes.append(integer: cost.bitPattern)
        bytes.append(integer: tenant.rawValue)
        bytes.append((isEphemeral ? 1 : 0) | (isTracked ? 2 : 0) | (payloadIsElsewhere ? 4 : 0))
        bytes.append(integer: maxAttempts)
        bytes.append(integer: timeout)
        for text in [origin, name, traceparent] {
            bytes.append(integer: UInt16(text.utf8.count))
            bytes.append(contentsOf: text.utf8)
        }
        bytes.append(integer: UInt32(payload.count))
        bytes.append(contentsOf: payload)
        return bytes
    }
}

extension [UInt8] {
    fileprivate mutating func append(integer value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }
}

private struct ByteReader {
    let bytes: [UInt8]
    var position = 0

    mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, position + count <= bytes.count else { return nil }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func integer<Integer: FixedWidthInteger>(_: Integer.Type) -> Integer? {
        guard let slice = take(MemoryLayout<Integer>.size) else { return nil }
        return slice.reversed().reduce(Integer(0)) { $0 << 8 | Integer(truncatingIfNeeded: $1) }
    }

    mutating func text() -> String? {
        guard let length = integer(UInt16.self), let slice = take(Int(length)) else { return nil }
        return String(decoding: slice, as: UTF8.self)
    }
}
