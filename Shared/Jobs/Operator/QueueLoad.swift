import Foundation
import Redis

/// How many jobs of a queue came and ran, and how long they took, over all processes: sums in Redis, one per ten seconds,
/// that forget themselves. Lost with Redis, and right again a minute later.
package struct QueueLoad: Sendable {
    /// What ran in the last minute.
    package struct Measured: Sendable, Equatable {
        package var runs = 0
        /// How many were enqueued, ephemeral ones too.
        package var arrived = 0
        package var milliseconds = 0.0
        /// The seconds that the sums are of.
        package var seconds = 0.0

        /// Seconds that a run took; nil where nothing ran.
        package var meanSeconds: Double? { runs > 0 ? milliseconds / Double(runs) / 1000 : nil }
        /// Runs per second.
        package var rate: Double { seconds > 0 ? Double(runs) / seconds : 0 }
        /// Jobs enqueued per second.
        package var arrivalRate: Double { seconds > 0 ? Double(arrived) / seconds : 0 }

        package init() {}
    }

    static let slice = 10
    private let queue: RedisQueue

    package init(_ queue: RedisQueue) { self.queue = queue }

    private func key(_ slice: Int) -> String { "\(queue.prefix(0))load:\(slice)" }

    private static func slice(at date: Date) -> Int { Int(date.timeIntervalSince1970) / slice }

    /// Adds runs that ended in this process.
    package func note(runs: Int, milliseconds: Double, at date: Date = Date()) async throws(RedisError) {
        if runs == 0 { return }
        let key = key(Self.slice(at: date))
        _ = try await queue.redis.command(key: key, ["HINCRBY", .text(key), "runs", .int(runs)])
        _ = try await queue.redis.command(
            key: key, ["HINCRBYFLOAT", .text(key), "ms", .text(String(milliseconds))])
        _ = try await queue.redis.command(key: key, ["EXPIRE", .text(key), 180])
    }

    /// Adds jobs that this process enqueued.
    package func note(arrived: Int, at date: Date = Date()) async throws(RedisError) {
        if arrived == 0 { return }
        let key = key(Self.slice(at: date))
        _ = try await queue.redis.command(key: key, ["HINCRBY", .text(key), "in", .int(arrived)])
        _ = try await queue.redis.command(key: key, ["EXPIRE", .text(key), 180])
    }

    /// The sums of the last minute that is over.
    package func read(at date: Date = Date()) async throws(RedisError) -> Measured {
        var measured = Measured()
        let current = Self.slice(at: date)
        for slice in (current - 60 / Self.slice)..<current {
            let key = key(slice)
            let reply = try await queue.redis.command(key: key, ["HMGET", .text(key), "runs", "ms", "in"]).array ?? []
            func number(_ place: Int) -> Double {
                place < reply.count ? reply[place].text.flatMap(Double.init) ?? 0 : 0
            }
            measured.runs += Int(number(0))
            measured.milliseconds += number(1)
            measured.arrived += Int(number(2))
        }
        measured.seconds = 60
        return measured
    }
}
