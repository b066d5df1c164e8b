/// Something wrong with one place of a request.
package struct FieldError: Error, Sendable, Equatable {
    /// A JSON pointer into the body (`/emails/0/value`), or the name of a query parameter or column.
    package let pointer: String
    /// Stable, for programs: `required`, `unknown_field`, `too_long` …
    package let code: String
    /// For people.
    package let message: String

    package init(_ pointer: String, _ code: String, _ message: String) {
        self.pointer = pointer
        self.code = code
        self.message = message
    }

    package var json: JSONValue {
        ["pointer": .string(pointer), "code": .string(code), "message": .string(message)]
    }
}

/// A refusal as the HTTP surface tells it (RFC 9457). Nothing in it comes from the database's own messages.
package struct Problem: Error, Sendable {
    package let status: Int
    /// Stable, for programs.
    package let code: String
    package let detail: String
    package var fields: [FieldError]
    /// Further members of the answer.
    package var extra: [String: JSONValue]
    package var headers: [(String, String)]

    package init(
        _ status: Int, _ code: String, _ detail: String, fields: [FieldError] = [],
        extra: [String: JSONValue] = [:], headers: [(String, String)] = []
    ) {
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = fields
        self.extra = extra
        self.headers = headers
    }

    /// 404: not there, not the tenant's, or out of reach, which look alike.
    package static func notFound(_ what: String = "record") -> Problem {
        Problem(404, "not_found", "There is no such \(what).")
    }

    /// 422 with every wrong field.
    package static func invalid(_ fields: [FieldError]) -> Problem {
        Problem(422, "invalid", "The request was understood, but some values can't be taken.", fields: fields)
    }

    /// 422 with one wrong field.
    package static func invalid(_ pointer: String, _ code: String, _ message: String) -> Problem {
        invalid([FieldError(pointer, code, message)])
    }

    /// 400: the request could not be read.
    package static func badRequest(_ code: String, _ detail: String) -> Problem { Problem(400, code, detail) }

    package static let forbidden = Problem(403, "forbidden", "Your roles do not allow this.")
}
