import Foundation

#if canImport(Glibc)
    import Glibc
#endif

extension QueueOperator {
    /// A worker's process on this machine.
    package struct WorkerProcess: Encodable, Sendable {
        package let name: String
        package let host: String
        package let pid: Int32

        /// Asks it to end in good order, for all of its queues: it fetches no more and lets its jobs end.
        package func stop() throws(OperatorRefusal) {
            if kill(pid, SIGTERM) == 0 { return }
            throw OperatorRefusal("refused", "process \(pid) can't be signalled: \(String(cString: strerror(errno)))")
        }
    }

    /// The process of a worker. Refuses one of another machine, which its supervisor there has to stop, and one that
    /// is gone.
    package func process(ofWorker name: String) async throws -> WorkerProcess {
        guard let worker = try await workers().first(where: { $0.name == name }) else {
            throw OperatorRefusal("unknown_worker", "there is no worker \(name)")
        }
        let here = ProcessInfo.processInfo.hostName
        guard worker.host == here, let pid = worker.pid else {
            throw OperatorRefusal(
                "elsewhere", "\(name) runs on \(worker.host), this is \(here): stop it there, by its supervisor")
        }
        guard Self.isWorker(pid, of: worker.queue) else {
            throw OperatorRefusal("gone", "process \(pid) is no worker any more; its lease will end by itself")
        }
        return WorkerProcess(name: name, host: here, pid: pid)
    }

    /// A number may have gone to another process since; in a container of its own, it is not seen from here at all.
    private static func isWorker(_ pid: Int32, of queue: String) -> Bool {
        guard let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else { return false }
        let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        let service = queue.prefix { $0 != "." }
        return words.count > 1 && URL(filePath: words[0]).lastPathComponent == service && words[1] == "work"
    }
}
