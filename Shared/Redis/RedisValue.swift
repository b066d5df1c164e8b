/// What Redis answered (RESP2).
package enum RedisValue: Sendable, Equatable {
    case bytes([UInt8])
    case status(String)
    case integer(Int)
    case array([RedisValue])
    case error(String)
    case null

    /// The text of a bulk or status reply.
    package var text: String? {
        switch self {
        case .bytes(let bytes): return String(decoding: bytes, as: UTF8.self)
        case .status(let text): return text
        case .integer(let value): return String(value)
        default: return nil
        }
    }

    package var bytes: [UInt8]? { if case .bytes(let bytes) = self { bytes } else { nil } }

    package var int: Int? {
        switch self {
        case .integer(let value): return value
        case .bytes, .status: return text.flatMap { Int($0) }
        default: return nil
        }
    }

    package var array: [RedisValue]? { if case .array(let values) = self { values } else { nil } }
}

/// An argument of a command: bytes, whatever they are.
package enum RedisArgument: Sendable, ExpressibleByStringLiteral, ExpressibleByStringInterpolation,
    ExpressibleByIntegerLiteral
{
    case text(String)
    case bytes([UInt8])

    package init(stringLiteral value: String) { self = .text(value) }
    package init(integerLiteral value: Int) { self = .text(String(value)) }
    /// A whole number in its text.
    package static func int(_ value: Int) -> RedisArgument { .text(String(value)) }
}

/// Why Redis, or the way to it, said no.
package struct RedisError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure this is, and so what may be done about it.
    package enum Code: Sendable, Equatable {
        /// The command was never sent: it may be tried again.
        case notConnected
        /// The connection broke, or no answer came in time, after the command was sent: it may have been executed.
        case interrupted
        /// Redis answered with an error; nothing of the command was done, unless a script failed half-way.
        case refused
        /// The client was closed.
        case closed
    }

    package let code: Code
    package let message: String

    package init(code: Code, message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "redis: \(message)" }
}
