import Foundation
import Processes

#if canImport(Glibc)
    import Glibc
#endif

/// A process that a test started; it ends with the object.
package final class TestProcess: Sendable {
    private let process: ChildProcess
    private let output: URL

    /// Starts `executable`. Standard output is kept, standard error goes to `log` when given.
    package init(
        _ executable: URL, _ arguments: [String], environment: [String: String] = [:], log: URL? = nil
    ) throws {
        output = FileManager.default.temporaryDirectory.appending(path: "guanxi-output-\(UUID().uuidString)")
        process = try ChildProcess(
            executable.path, arguments, environment: ProcessInfo.processInfo.environment.merging(environment) { $1 },
            output: .file(output.path), errors: log.map { .file($0.path) } ?? .discarded)
    }

    deinit {
        process.signal(SIGKILL)
        process.wait()
        try? FileManager.default.removeItem(at: output)
    }

    package var pid: Int32 { process.pid }
    /// All that it has printed so far.
    package var text: String { (try? Data(contentsOf: output)).map { String(decoding: $0, as: UTF8.self) } ?? "" }
    package var isRunning: Bool { process.ending == nil }

    /// Waits until the process printed a line that begins with `prefix`, and gives it.
    package func line(beginning prefix: String, within seconds: Double = 30) async throws -> String {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < deadline {
            let hasEnded = !isRunning
            if let line = text.split(separator: "\n").first(where: { $0.hasPrefix(prefix) }) { return String(line) }
            if hasEnded { throw TestFailure("process \(pid) ended before it printed \(prefix)") }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TestFailure("process \(pid) did not print \(prefix) in \(seconds) s")
    }

    /// Sends a signal.
    package func signal(_ number: Int32) { process.signal(number) }

    /// Ends the process at once, as a crash would, and waits until it is gone.
    package func crash() async throws {
        signal(SIGKILL)
        try await finished(within: 10)
    }

    /// Asks the process to end and waits; gives its exit status.
    @discardableResult
    package func stop(within seconds: Double = 30) async throws -> Int32 {
        signal(SIGTERM)
        return try await finished(within: seconds)
    }

    /// Waits for the process to end by itself; gives its exit status, or the signal's number.
    @discardableResult
    package func finished(within seconds: Double = 120) async throws -> Int32 {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while true {
            switch process.ending {
            case .exit(let status)?: return status
            case .signal(let number)?: return number
            case nil: break
            }
            if ContinuousClock.now > deadline { throw TestFailure("process \(pid) did not end in \(seconds) s") }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}

/// Why a test could not go on.
package struct TestFailure: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// Polls until `condition` holds; fails after `seconds`, which is far more than it should ever take.
package func eventually(
    within seconds: Double = 60, _ what: String, _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(50))
    }
    throw TestFailure("not within \(seconds) s: \(what)")
}

/// A port of the loopback that is free now.
package func freePort() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
            bind(descriptor, raw, length) == 0 ? getsockname(descriptor, raw, &length) : -1
        }
    }
    guard status == 0 else { throw TestFailure("no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
}
