import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A process that this one started and whose end it takes.
///
/// Whoever supervises must not fall over its children, and Foundation's `Process` and `Pipe` do on Linux: starting one
/// copies a whole directory entry out of a buffer that may end behind its name (swift-corelibs-foundation #5472), and a
/// pipe's handler frees what the event loop still holds (swift-corelibs-libdispatch #949). Both were seen here.
package final class ChildProcess: Sendable {
    /// Where what it prints goes.
    package enum Output: Sendable {
        case inherited, discarded
        /// Added to the end of the file at this path, which is made when it is not there.
        case file(String)
    }

    /// How a process ended.
    package enum Ending: Sendable, Equatable, CustomStringConvertible {
        case exit(Int32)
        case signal(Int32)

        package var description: String {
            switch self {
            case .exit(let status): "with \(status)"
            case .signal(let number): "by signal \(number)"
            }
        }
    }

    /// The system refused to start a program.
    package struct NotStarted: Error, CustomStringConvertible {
        package let program: String
        /// The system's error number, as `ENOENT`.
        package let code: Int32
        package var description: String { "\(program): \(String(cString: strerror(code)))" }
    }

    package let pid: Int32
    private let taken = Mutex<Ending?>(nil)

    /// Starts the program at a path, with nothing to read and none of this process's open files.
    ///
    /// It leads a process group of its own, so that a terminal's Ctrl-C reaches this process alone, and finds every signal
    /// at its default, whatever is ignored or held here.
    package init(
        _ program: String, _ arguments: [String], environment: [String: String], output: Output = .inherited,
        errors: Output = .inherited
    ) throws(NotStarted) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        Self.direct(STDOUT_FILENO, to: output, &actions)
        Self.direct(STDERR_FILENO, to: errors, &actions)
        _ = Self.closeFrom?(&actions, STDERR_FILENO + 1)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

        var words = ([program] + arguments).map { strdup($0) } + [nil]
        var settings = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in words + settings { free(text) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, program, &actions, &attributes, &words, &settings)
        if code != 0 { throw NotStarted(program: program, code: code) }
        self.pid = pid
    }

    /// glibc's function (from 2.34 on) that closes whatever else is open; its header shows it to C programs alone that say
    /// `_GNU_SOURCE`.
    private static let closeFrom: CloseFrom? = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map {
        unsafeBitCast($0, to: CloseFrom.self)
    }
    private typealias CloseFrom =
        @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, _ first: Int32) -> Int32

    private static func direct(
        _ descriptor: Int32, to output: Output, _ actions: inout posix_spawn_file_actions_t
    ) {
        switch output {
        case .inherited: break
        case .discarded: posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
        case .file(let path):
            posix_spawn_file_actions_addopen(&actions, descriptor, path, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        }
    }

    /// How it ended; nil while it runs. Never waits.
    package var ending: Ending? {
        taken.withLock { taken in
            if let taken { return taken }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
            let signal = status & 0x7f
            taken = signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal)
            return taken
        }
    }

    /// Waits, and holds the thread, until it has ended.
    @discardableResult
    package func wait() -> Ending {
        while true {
            if let ending { return ending }
            // Looks without taking it, so that nobody who asks or signals meanwhile has to wait too.
            var information = siginfo_t()
            waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT)
        }
    }

    /// Sends a signal, unless the process's end is known: its number may be another's by then.
    package func signal(_ number: Int32) {
        taken.withLock { if $0 == nil { kill(pid, number) } }
    }
}
