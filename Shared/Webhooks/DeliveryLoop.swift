import CCurl
import ThreadExecutor

/// What the client's thread does: starts what has its turn, lets libcurl move all transfers along, and hands out
/// outcomes. Not `Sendable`: it is made and used on that thread.
final class DeliveryLoop {
    /// libcurl must be initialised once before use; a static does that safely from any thread.
    private static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    private let settings: HTTPDelivery.Settings
    private let inbox: DeliveryInbox
    private let multi: UnsafeMutableRawPointer
    private var queue: DeliveryQueue
    private var waiting: [UInt64: Delivery] = [:]
    private var transfers: [UInt64: Transfer] = [:]

    init(_ settings: HTTPDelivery.Settings, _ inbox: DeliveryInbox) {
        precondition(Self.isReady, "libcurl could not be initialised")
        self.settings = settings
        self.inbox = inbox
        queue = DeliveryQueue(perHost: settings.perHost, atOnce: settings.atOnce)
        multi = curl_multi_init()!
        ccurl_multi_set_number(multi, CURLMOPT_MAXCONNECTS, settings.atOnce)
    }

    /// Runs until the inbox is closed, then ends everything.
    func run() {
        OSThread.blockSignals()
        inbox.attach(multi)
        while !inbox.isClosed {
            let isAllTaken = receive()
            start()
            var running: Int32 = 0
            let status = curl_multi_perform(multi, &running)
            let isAnyFinished = finish()
            if isAnyFinished || !isAllTaken { continue }
            // libcurl returns earlier for its own timers, for sockets, and when a task wakes it.
            if status != CURLM_OK || curl_multi_poll(multi, nil, 0, 60_000, nil) != CURLM_OK {
                // Only when the system is out of memory or descriptors: give it time instead of spinning.
                pause(milliseconds: 50)
            }
        }
        end()
    }

    /// Takes what the tasks left. False when there is more.
    private func receive() -> Bool {
        let commands = inbox.take()
        for command in commands {
            switch command {
            case .post(let delivery):
                waiting[delivery.id] = delivery
                queue.add(delivery.id, host: delivery.request.target.host)
            case .cancel(let id):
                cancel(id)
            }
        }
        return commands.isEmpty
    }

    /// Numbers that are unknown belong to deliveries that ended in the meantime.
    private func cancel(_ id: UInt64) {
        if let delivery = waiting.removeValue(forKey: id) {
            queue.remove(id, host: delivery.request.target.host)
            delivery.reply.resume(returning: .cancelled)
        } else if let transfer = transfers[id] {
            close(transfer, with: transfer.outcome(of: .cancelled))
        }
    }

    private func start() {
        while let id = queue.next() {
            let delivery = waiting.removeValue(forKey: id)!
            let transfer = Transfer(delivery, settings)
            transfers[id] = transfer
            if let failure = transfer.prepare() {
                close(transfer, with: transfer.outcome(of: failure))
            } else if curl_multi_add_handle(multi, transfer.easy) != CURLM_OK {
                let failure = DeliveryFailure(code: .other, message: "The transfer could not be started.")
                close(transfer, with: transfer.outcome(of: failure))
            }
        }
    }

    /// Hands out the outcomes of transfers that ended. True when there were any, so that others may have their turn.
    private func finish() -> Bool {
        var isAny = false
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
            // The message is gone once its handle is removed.
            let code = ccurl_message_result(message)
            guard let transfer = transfers[Transfer.id(of: easy)] else { continue }
            close(transfer, with: transfer.outcome(of: code))
            isAny = true
        }
        return isAny
    }

    private func close(_ transfer: Transfer, with outcome: DeliveryOutcome) {
        let delivery = transfer.delivery
        // Removing a handle that was never added does nothing.
        curl_multi_remove_handle(multi, transfer.easy)
        transfers[delivery.id] = nil
        queue.finish(host: delivery.request.target.host)
        delivery.reply.resume(returning: outcome)
    }

    private func end() {
        while !receive() {}
        for delivery in waiting.values { delivery.reply.resume(returning: .closed) }
        waiting = [:]
        for transfer in transfers.values {
            curl_multi_remove_handle(multi, transfer.easy)
            transfer.delivery.reply.resume(returning: transfer.outcome(of: .closed))
        }
        transfers = [:]
        inbox.detach()
        curl_multi_cleanup(multi)
    }
}

extension DeliveryFailure {
    fileprivate static let cancelled = DeliveryFailure(code: .cancelled, message: "The delivery was cancelled.")
    fileprivate static let closed = DeliveryFailure(code: .cancelled, message: "The client was closed.")
}
