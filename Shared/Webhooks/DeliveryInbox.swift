import CCurl
import ThreadExecutor

/// A request with its number and who waits for the outcome.
struct Delivery: Sendable {
    let id: UInt64
    let request: DeliveryRequest
    let reply: CheckedContinuation<DeliveryOutcome, Never>
}

enum DeliveryCommand: Sendable {
    case post(Delivery)
    case cancel(UInt64)
}

/// What tasks leave for the client's thread, and how they wake it.
///
/// `@unchecked Sendable`: the queue is safe by itself. `multi` is read and written with `lock` held only; other threads
/// use it for nothing but `curl_multi_wakeup`, which libcurl allows from any thread, and the client's thread takes it
/// back by `detach` before it frees the handle.
final class DeliveryInbox: @unchecked Sendable {
    private let commands = BlockingQueue<DeliveryCommand>()
    private let lock = Lock()
    private var multi: UnsafeMutableRawPointer?

    /// False once the inbox is closed; the command is dropped then.
    func push(_ command: DeliveryCommand) -> Bool {
        guard commands.push(command) else { return false }
        wake()
        return true
    }

    func close() {
        commands.close()
        wake()
    }

    var isClosed: Bool { commands.isClosed }

    /// Takes some of what is there, without waiting. Empty when nothing is.
    func take() -> [DeliveryCommand] { commands.takeAvailable(upTo: 1_024) }

    /// From now on `multi` is woken. What was pushed before is found by the `take` that must follow.
    func attach(_ multi: UnsafeMutableRawPointer) {
        lock.withLock { self.multi = multi }
    }

    func detach() {
        lock.withLock { multi = nil }
    }

    private func wake() {
        lock.withLock {
            if let multi { curl_multi_wakeup(multi) }
        }
    }
}
