/// What PostgreSQL, or the way to it, said no with.
///
/// The message may quote data and SQL: it is for logs. What a caller of the HTTP surface sees is decided by `code`.
package struct DatabaseError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure this is, and so what may be done about it.
    package enum Code: Sendable, Equatable {
        /// A row with the same key exists (23505).
        case uniqueViolation
        /// A referenced row is missing, or a row that is still referenced was to go (23503).
        case foreignKeyViolation
        /// A value was refused by a CHECK or NOT NULL (23514, 23502).
        case checkViolation
        /// The text is not a value of the type, or is out of range (class 22).
        case invalidValue
        /// Another transaction was in the way (40001, 40P01): the whole transaction may be tried again.
        case conflict
        /// The statement ran into its time limit or was cancelled (57014).
        case cancelled
        /// A lock was not to be had in time (55P03).
        case lockUnavailable
        /// The connection was lost. Whether an open commit took place is unknown.
        case connectionLost
        /// No connection became free within the lease time-out, or the database is closed, or the server has no room for
        /// more of them, or on its disk (53300, 53100).
        case unavailable
        /// Row security or a missing privilege refused (42501).
        case forbidden
        /// Anything else: a fault of the program or of the schema.
        case other
    }

    package let code: Code
    /// Five characters; empty when the failure lies outside the server.
    package let sqlState: String
    package let message: String
    package let constraint: String?
    package let column: String?
    package let detail: String?

    package init(
        code: Code, sqlState: String = "", message: String, constraint: String? = nil, column: String? = nil,
        detail: String? = nil
    ) {
        self.code = code
        self.sqlState = sqlState
        self.message = message
        self.constraint = constraint
        self.column = column
        self.detail = detail
    }

    /// PostgreSQL could not be asked, or was lost on the way: nothing is said of the request itself, and time mends it.
    package var isOutage: Bool { code == .unavailable || code == .connectionLost }

    package var description: String {
        let state = sqlState.isEmpty ? "" : " [\(sqlState)]"
        return "\(message)\(state)\(detail.map { " (\($0))" } ?? "")"
    }

    static func code(sqlState: String) -> Code {
        switch sqlState {
        case "23505", "23P01": return .uniqueViolation
        case "23503": return .foreignKeyViolation
        case "23514", "23502": return .checkViolation
        case "40001", "40P01": return .conflict
        case "57014": return .cancelled
        case "55P03": return .lockUnavailable
        case "42501": return .forbidden
        case "53100", "53300": return .unavailable
        case "25P03", "57P01", "57P02", "57P03": return .connectionLost
        default:
            if sqlState.hasPrefix("22") { return .invalidValue }
            if sqlState.hasPrefix("08") && sqlState != "08P01" { return .connectionLost }
            return .other
        }
    }
}
