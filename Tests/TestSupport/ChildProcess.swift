import Foundation
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A process that a test started and ends by its id.
package final class ChildProcess: Sendable {
    private let process: Mutex<Process>
    private let output = Mutex(Data())
    package let pid: Int32

    /// Starts `executable`. Standard output is kept, standard error goes to `log` when given.
    package init(
        _ executable: URL, _ arguments: [String], environment: [String: String] = [:], log: URL? = nil
    ) throws {
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardInput = FileHandle.nullDevice
        if let log {
            if !FileManager.default.fileExists(atPath: log.path) {
                _ = FileManager.default.createFile(atPath: log.path, contents: nil)
            }
            let handle = try FileHandle(forWritingTo: log)
            try handle.seekToEnd()
            process.standardError = handle
        } else {
            process.standardError = FileHandle.nullDevice
        }
        try process.run()
        pid = process.processIdentifier
        self.process = Mutex(process)
        let reading = pipe.fileHandleForReading
        reading.readabilityHandler = { [weak self] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil } else { self?.output.withLock { $0.append(data) } }
        }
    }

    deinit { kill(pid, SIGKILL) }

    package var text: String { output.withLock { String(decoding: $0, as: UTF8.self) } }
    package var isRunning: Bool { process.withLock { $0.isRunning } }

    /// Waits until the process printed a line that begins with `prefix`, and gives it.
    package func line(beginning prefix: String, within seconds: Double = 30) async throws -> String {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < deadline {
            if let line = text.split(separator: "\n").first(where: { $0.hasPrefix(prefix) }) { return String(line) }
            if !isRunning { throw TestFailure("process \(pid) ended before it printed \(prefix)") }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TestFailure("process \(pid) did not print \(prefix) in \(seconds) s")
    }

    /// Sends a signal.
    package func signal(_ number: Int32) { kill(pid, number) }

    /// Ends the process at once, as a crash would, and waits until it is gone.
    package func crash() async throws {
        signal(SIGKILL)
        try await waitUntilGone(within: 10)
    }

    /// Asks the process to end and waits; gives its exit status.
    @discardableResult
    package func stop(within seconds: Double = 30) async throws -> Int32 {
        signal(SIGTERM)
        try await waitUntilGone(within: seconds)
        return process.withLock { $0.terminationStatus }
    }

    /// Waits for the process to end by itself; gives its exit status.
    package func finished(within seconds: Double = 120) async throws -> Int32 {
        try await waitUntilGone(within: seconds)
        return process.withLock { $0.terminationStatus }
    }

    private func waitUntilGone(within seconds: Double) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while isRunning {
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
