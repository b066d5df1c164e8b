import Foundation

/// Which processes of one service run, and what is to be done so that as many run as are wanted: decisions alone, so
/// that they can be tested without a process.
package struct WorkerFleet: Sendable {
    /// A process of the fleet.
    package struct Member: Sendable, Equatable {
        package let pid: Int32
        package let startedAt: Double
        /// When it was asked to end; it counts no more.
        package var drainingSince: Double?
    }

    /// What is to be done next.
    package enum Step: Sendable, Equatable {
        case start
        /// Ask it to end: it lets its jobs end first.
        case drain(pid: Int32)
        /// It had its grace, and more.
        case kill(pid: Int32)
    }

    /// A process that lived so long has not failed at its start.
    package static let steady = 30.0

    package private(set) var members: [Member] = []
    private var failures = 0
    private var notBefore = 0.0
    /// Seconds that a process may take to end.
    package let grace: Double

    package init(grace: Double) { self.grace = grace }

    /// Steps towards `wanted` processes, at a time in seconds.
    package func steps(wanted: Int, now: Double) -> [Step] {
        let active = members.filter { $0.drainingSince == nil }
        var steps: [Step] = members.compactMap { member in
            member.drainingSince.map { now - $0 > grace } == true ? .kill(pid: member.pid) : nil
        }
        if active.count > wanted {
            // The newest go first: they have the least under way.
            steps += active.sorted { $0.startedAt > $1.startedAt }.prefix(active.count - wanted).map {
                .drain(pid: $0.pid)
            }
        } else if active.count < wanted && now >= notBefore {
            // After a failure one at a time: if it fails again, nothing more is lost by it.
            steps += Array(repeating: .start, count: failures > 0 ? 1 : wanted - active.count)
        }
        return steps
    }

    /// A process was started.
    package mutating func started(_ pid: Int32, now: Double) { members.append(Member(pid: pid, startedAt: now)) }

    /// A process was asked to end.
    package mutating func draining(_ pid: Int32, now: Double) {
        guard let index = members.firstIndex(where: { $0.pid == pid && $0.drainingSince == nil }) else { return }
        members[index].drainingSince = now
    }

    /// A process could not be started at all.
    package mutating func failedToStart(now: Double) {
        failures += 1
        notBefore = now + Self.backoff(failures)
    }

    /// A process has ended. True when nobody asked it to: it is replaced, the later the more often that happens.
    package mutating func ended(_ pid: Int32, now: Double) -> Bool {
        guard let index = members.firstIndex(where: { $0.pid == pid }) else { return false }
        let member = members.remove(at: index)
        if member.drainingSince != nil { return false }
        failures = now - member.startedAt >= Self.steady ? 1 : failures + 1
        notBefore = now + Self.backoff(failures)
        return true
    }

    /// Forgives what failed, once a process has lived long enough.
    package mutating func look(now: Double) {
        if failures > 0, members.contains(where: { $0.drainingSince == nil && now - $0.startedAt >= Self.steady }) {
            failures = 0
        }
    }

    /// Seconds: doubling from half of one on, capped at half a minute.
    package static func backoff(_ failures: Int) -> Double { min(30, 0.25 * pow(2, Double(min(failures, 10)))) }
}
