import Synchronization
import ThreadExecutor

/// The client that delivers: any number of requests at once, on one thread of its own.
///
/// It follows no redirect, uses no proxy and keeps no cookie, speaks HTTP/1.1 only, and asks the address policy at
/// every connection, after name resolution. Nothing is tried again: that is the caller's to decide, by
/// `DeliveryVerdict`. Connections to the same host are used again while they last.
package final class HTTPDelivery: Sendable {
    private let inbox: DeliveryInbox
    private let lastID = Atomic<UInt64>(0)

    /// Starts the thread. It ends at `close()`, or when the client is released.
    package init(_ settings: Settings) {
        precondition(settings.perHost > 0 && settings.atOnce > 0, "no place for any delivery")
        let inbox = DeliveryInbox()
        self.inbox = inbox
        OSThread.start { DeliveryLoop(settings, inbox).run() }
    }

    deinit { inbox.close() }

    /// Sends `request` and waits for the outcome; never throws and never takes longer than its turn and
    /// `Settings.totalTimeout`.
    ///
    /// Waits for a place if its host, or the client, has enough under way. When the task is cancelled it returns soon
    /// with a failure of code `.cancelled`; the receiver may have got the request all the same.
    package func post(_ request: DeliveryRequest) async -> DeliveryOutcome {
        let id = lastID.add(1, ordering: .relaxed).newValue
        return await withTaskCancellationHandler {
            await withCheckedContinuation { reply in
                if !inbox.push(.post(Delivery(id: id, request: request, reply: reply))) {
                    reply.resume(returning: .closed)
                }
                // A cancellation before the push found nothing to cancel.
                if Task.isCancelled { _ = inbox.push(.cancel(id)) }
            }
        } onCancel: {
            _ = inbox.push(.cancel(id))
        }
    }

    /// Ends everything under way and waiting with a failure of code `.cancelled`, and every later request at once.
    /// Returns immediately.
    package func close() { inbox.close() }
}

extension HTTPDelivery {
    /// What the client may do, and for how long.
    package struct Settings: Sendable {
        /// Which addresses may be connected to.
        package var policy: AddressPolicy
        /// For name resolution, connection and encryption together.
        package var connectTimeout: Duration
        /// For the whole attempt, from its turn to the end of the answer.
        package var totalTimeout: Duration
        /// Deliveries to one host at once, at least 1; the others wait.
        package var perHost: Int
        /// Deliveries at once in all, at least 1; each takes a file descriptor, and for a moment a thread that resolves its name.
        package var atOnce: Int
        /// A file of certificates (PEM) to trust instead of the system's bundle, for receivers with a private
        /// authority. Nil for the system's.
        package var certificateAuthorities: String?

        /// The defaults suit receivers on the Internet; timeouts are at least a millisecond.
        package init(
            policy: AddressPolicy = .publicOnly, connectTimeout: Duration = .seconds(10),
            totalTimeout: Duration = .seconds(20), perHost: Int = 4, atOnce: Int = 256,
            certificateAuthorities: String? = nil
        ) {
            self.policy = policy
            self.connectTimeout = connectTimeout
            self.totalTimeout = totalTimeout
            self.perHost = perHost
            self.atOnce = atOnce
            self.certificateAuthorities = certificateAuthorities
        }
    }
}

extension DeliveryOutcome {
    static let closed = DeliveryOutcome(
        result: .failure(DeliveryFailure(code: .cancelled, message: "The client was closed.")))
    static let cancelled = DeliveryOutcome(
        result: .failure(DeliveryFailure(code: .cancelled, message: "The delivery was cancelled.")))
}
