import Synchronization
import Tracing

/// What is known of a recorded span while it runs; several tasks may add to it at once.
final class SpanRecording: Sendable {
    fileprivate struct State {
        var name: String
        var attributes = SpanAttributes()
        var droppedAttributes = 0
        var events: [EndedSpan.Event] = []
        var droppedEvents = 0
        var links: [EndedSpan.Link] = []
        var droppedLinks = 0
        var status: SpanStatus?
        var isOpen = true
    }

    private let context: SpanContext
    private let parent: SpanContext?
    private let kind: SpanKind
    private let start: UInt64
    private let queue: SpanQueue
    private let state: Mutex<State>

    init(
        _ context: SpanContext, parent: SpanContext?, kind: SpanKind, name: String, start: UInt64, queue: SpanQueue
    ) {
        self.context = context
        self.parent = parent
        self.kind = kind
        self.start = start
        self.queue = queue
        state = Mutex(State(name: name))
    }

    var isOpen: Bool { state.withLock { $0.isOpen } }

    var name: String {
        get { state.withLock { $0.name } }
        set { change { $0.name = newValue } }
    }

    var attributes: SpanAttributes {
        get { state.withLock { $0.attributes } }
        set { change { $0.set(newValue) } }
    }

    func set(_ status: SpanStatus) { change { $0.set(status) } }

    func add(_ event: SpanEvent) {
        change { state in
            guard state.events.count < SpanLimits.events else { return state.droppedEvents += 1 }
            state.events.append(
                EndedSpan.Event(
                    name: SpanLimits.cut(event.name), time: event.nanosecondsSinceEpoch,
                    attributes: BoundedAttributes(event.attributes)))
        }
    }

    func add(_ link: SpanLink) {
        change { state in
            guard state.links.count < SpanLimits.links, let target = link.context.spanContext else {
                return state.droppedLinks += 1
            }
            state.links.append(EndedSpan.Link(target: target, attributes: BoundedAttributes(link.attributes)))
        }
    }

    func end(at instant: UInt64) {
        let last: State? = state.withLock { state in
            guard state.isOpen else { return nil }
            state.isOpen = false
            return state
        }
        guard let last else { return }
        var attributes = BoundedAttributes(last.attributes)
        attributes.dropped += last.droppedAttributes
        queue.push(
            EndedSpan(
                context: context, parent: parent, kind: kind, name: SpanLimits.cut(last.name), start: start,
                // The system's clock may be set back meanwhile; collectors refuse a span that ends before its start.
                end: max(start, instant), attributes: attributes, events: last.events,
                droppedEvents: last.droppedEvents, links: last.links, droppedLinks: last.droppedLinks,
                status: last.status))
    }

    /// What comes after the end comes too late: the span is on its way.
    private func change(_ body: (inout State) -> Void) {
        state.withLock { state in
            if state.isOpen { body(&state) }
        }
    }
}

extension SpanRecording.State {
    /// Takes all attributes, or as many as there may be: those that were there already go first.
    fileprivate mutating func set(_ new: SpanAttributes) {
        guard new.count > SpanLimits.attributes else { return attributes = new }
        var kept = SpanAttributes()
        new.forEach { key, value in
            if attributes.get(key) != nil { kept.set(key, value: value) }
        }
        new.forEach { key, value in
            if kept.count < SpanLimits.attributes { kept.set(key, value: value) }
        }
        droppedAttributes += new.count - kept.count
        attributes = kept
    }

    /// As OpenTelemetry has it, nothing overrides success. `withSpan` sets a failure without a message when its body
    /// throws, which must not take away what the body has said.
    fileprivate mutating func set(_ new: SpanStatus) {
        if status?.code == .ok { return }
        switch new.code {
        case .ok: status = SpanStatus(code: .ok)
        case .error:
            status = SpanStatus(code: .error, message: new.message.map(SpanLimits.cut) ?? status?.message)
        }
    }
}
