#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A thread of the operating system that may block without starving Swift's cooperative pool.
///
/// C client libraries block in `read`; calling them from a task would hold one of the few threads that every task
/// shares. Whoever starts an `OSThread` owns its end: the body must return when its queue is closed.
package struct OSThread: Sendable {
    /// Starts `body` on a new thread.
    ///
    /// Traps when the system refuses another thread: nothing sensible can go on without it.
    package static func start(_ body: @escaping @Sendable () -> Void) {
        _ = leavesOpenSSLAlone
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, 512 * 1024)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }

        let box = Unmanaged.passRetained(Body(run: body))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, &attributes,
            { argument in
                let body = Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                body.run()
                return nil
            }, box.toOpaque())
        precondition(status == 0, "pthread_create failed with \(status)")
    }

    /// Keeps OpenSSL, which libpq and libcurl bring along, from freeing its state when the process exits: threads that end
    /// at that moment free theirs too, and one of a thousand exits was a crash or never came. Said before the first use.
    private static let leavesOpenSSLAlone: Bool = {
        guard let symbol = dlsym(nil, "OPENSSL_init_crypto") else { return false }
        typealias Initialize = @convention(c) (_ options: UInt64, _ settings: OpaquePointer?) -> Int32
        let noAtExit: UInt64 = 0x0008_0000
        return unsafeBitCast(symbol, to: Initialize.self)(noAtExit, nil) == 1
    }()

    /// Keeps signals from the calling thread and those that it starts: a TLS library that writes to a connection which the
    /// other side has closed may raise SIGPIPE, which ends the process, and signals meant for the process should not land
    /// on libcurl's resolvers.
    package static func blockSignals() {
        var all = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, nil)
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void

        init(run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }
}

/// Blocks the calling thread; never call it from a task.
package func pause(milliseconds: Int) {
    usleep(UInt32(milliseconds) * 1000)
}
