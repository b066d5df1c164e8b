import Database
import Foundation
import Records
import Tenancy

/// Who is asking: signing in and out, and what the bearer is.
extension CommonEndpoints {
    var me: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = [
                "type": "object", "required": ["tenant", "actor"], "properties": ["tenant": ["type": "string"]],
            ]
        }
        return Endpoint(.get, "/v1/me", "Who is asking", documentation: documentation) { request in
            try request.allow([])
            let principal = request.principal
            return EndpointResponse(json: [
                "tenant": .string(principal.slug), "actor": .string(principal.actor),
                "user_id": JSONValue(principal.user?.lowercased), "locale": .string(principal.locale),
                "time_zone": .string(principal.timeZone), "currency": .string(principal.defaultCurrency),
                "administrator": .bool(principal.permissions.isAdministrator),
            ])
        }
    }

    var openSession: Endpoint {
        let word: JSONValue = [
            "type": "string", "minLength": 1, "maxLength": 254, "pattern": #"^[^\u0000-\u001F\u007F]*$"#,
        ]
        let documentation = EndpointDocumentation {
            $0.body = [
                "type": "object", "required": ["tenant", "email", "password"], "additionalProperties": false,
                "properties": ["tenant": word, "email": word, "password": word],
            ]
            $0.response = [
                "type": "object", "required": ["token", "expires_at"], "properties": ["token": ["type": "string"]],
            ]
            $0.status = 201
            $0.refusals = [401]
        }
        return Endpoint(.post, "/v1/sessions", "Sign in with a password", isPublic: true, documentation: documentation)
        { request in
            try request.allow([])
            let body = try await request.json()
            var errors: [FieldError] = []
            func text(_ name: String) -> String {
                if let text = body[name]?.text, (1...254).contains(text.unicodeScalars.count) { return text }
                errors.append(FieldError("/\(name)", "required", "A text of 1 to 254 characters belongs here."))
                return ""
            }
            let (tenant, email, password) = (text("tenant"), text("email"), text("password"))
            for name in (body.object ?? [:]).keys where !["tenant", "email", "password"].contains(name) {
                errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
            }
            if !errors.isEmpty { throw Problem.invalid(errors) }
            if let seconds = limiter.secondsUntilSignIn("\(tenant)/\(email.lowercased())") {
                throw Problem(
                    429, "too_many_requests", "Too many attempts for this account.",
                    headers: [("Retry-After", "\(seconds)")])
            }
            let opened: SignIn.Session?
            do { opened = try await signIn.open(tenant: tenant, email: email, password: password) } catch is SignIn.Busy
            {
                throw Problem(
                    429, "too_many_requests", "Too many people sign in right now.", headers: [("Retry-After", "2")])
            }
            guard let session = opened else {
                throw Problem(
                    401, "wrong_credentials",
                    "Tenant, address or password is wrong, or the account is locked for a while.")
            }
            return EndpointResponse(
                201,
                json: [
                    "token": .string(session.token.text), "expires_at": .string(Timestamp.rfc3339(session.expiresAt)),
                ])
        }
    }

    var closeSession: Endpoint {
        let documentation = EndpointDocumentation { $0.status = 204 }
        return Endpoint(.delete, "/v1/sessions", "Sign out", documentation: documentation) { request in
            try request.allow([])
            if let text = request.headers[.authorization]?.split(separator: " ").last,
                let token = BearerToken(String(text)),
                token.kind == .session
            {
                try await signIn.close(token)
            }
            return EndpointResponse(204)
        }
    }
}
