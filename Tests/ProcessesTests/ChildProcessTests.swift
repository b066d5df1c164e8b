import Foundation
import Processes
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Child processes", .timeLimit(.minutes(2)))
struct ChildProcessTests {
    private func shell(_ script: String, output: ChildProcess.Output = .discarded) throws -> ChildProcess {
        try ChildProcess("/bin/sh", ["-c", script], environment: ["WORD": "关系 🙂"], output: output)
    }

    private func file() -> URL {
        FileManager.default.temporaryDirectory.appending(path: "guanxi-child-\(UUID().uuidString)")
    }

    @Test("an exit's status and a signal's number are told apart, and stay what they were")
    func endings() throws {
        let seven = try shell("exit 7")
        #expect(seven.wait() == .exit(7))
        #expect(seven.ending == .exit(7))
        let killed = try shell("kill -9 $$")
        #expect(killed.wait() == .signal(9))
        seven.signal(SIGKILL)
        #expect(seven.ending == .exit(7), "who has ended is signalled no more")
    }

    @Test("a child finds the environment it was given, nothing to read, and none of its parent's files or signals")
    func surroundings() throws {
        let output = file()
        defer { try? FileManager.default.removeItem(at: output) }
        let secret = open("/dev/null", O_RDONLY)
        defer { close(secret) }
        // A parent that ignores SIGTERM, as services do that end in good order, has children that don't.
        let before = signal(SIGTERM, SIG_IGN)
        defer { signal(SIGTERM, before) }
        let child = try shell(
            "echo \"$WORD\"; cat; ls /proc/self/fd | wc -l; kill -TERM $$; echo still here", output: .file(output.path))
        #expect(child.wait() == .signal(SIGTERM))
        // `ls` has its three and the folder that it reads.
        let text = try String(contentsOf: output, encoding: .utf8)
        #expect(text.split(whereSeparator: \.isWhitespace) == ["关系", "🙂", "4"])
    }

    @Test("a file is written on, not begun anew")
    func appended() throws {
        let output = file()
        defer { try? FileManager.default.removeItem(at: output) }
        for word in ["one", "two"] { #expect(try shell("echo \(word)", output: .file(output.path)).wait() == .exit(0)) }
        #expect(try String(contentsOf: output, encoding: .utf8) == "one\ntwo\n")
    }

    @Test("what cannot be started says what and why")
    func missing() {
        let error = #expect(throws: ChildProcess.NotStarted.self) {
            try ChildProcess("/nowhere/to be found", [], environment: [:])
        }
        #expect(error?.code == ENOENT)
        #expect(error?.description == "/nowhere/to be found: No such file or directory")
    }

    /// Foundation's own `Process` crashed in one of eight runs of ten times as many.
    @Test("many start, print and end at once")
    func many() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lane in 0..<16 {
                group.addTask {
                    let output = file()
                    defer { try? FileManager.default.removeItem(at: output) }
                    for round in 0..<40 {
                        let child = try shell("echo \(round); exit \(lane)", output: .file(output.path))
                        while child.ending == nil { try await Task.sleep(for: .milliseconds(1)) }
                        #expect(child.ending == .exit(Int32(lane)))
                    }
                    let text = try String(contentsOf: output, encoding: .utf8)
                    #expect(text == (0..<40).map { "\($0)\n" }.joined())
                }
            }
            try await group.waitForAll()
        }
    }
}
