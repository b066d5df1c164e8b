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
                "time_zone": .string(principal.defaults.timeZone), "currency": .string(principal.defaults.currency),
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
                "properties": [
                    "tenant": word, "email": word, "password": word,
                    "totp": ["type": "string", "pattern": "^[0-9]{6}$"],
                    "recovery_code": [
                        "type": "string", "pattern": "^([0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}$",
                    ],
                ],
            ]
            $0.response = [
                "type": "object", "required": ["token", "expires_at"], "properties": ["token": ["type": "string"]],
            ]
            $0.status = 201
            $0.refusals = [401]
        }
        return Endpoint(
            .post, "/v1/sessions", "Sign in with a password, and a one-time code or recovery code where one is set up",
            isPublic: true, documentation: documentation
        ) { request in
            try request.allow([])
            let body = try await request.json()
            var errors: [FieldError] = []
            func text(_ name: String) -> String {
                if let text = body[name]?.text, (1...254).contains(text.unicodeScalars.count) { return text }
                errors.append(FieldError("/\(name)", "required", "A text of 1 to 254 characters belongs here."))
                return ""
            }
            let (tenant, email, password) = (text("tenant"), text("email"), text("password"))
            var attempt = SignIn.Attempt(tenant: tenant, email: email, password: password)
            if let code = body["totp"] {
                attempt.code = code.text
                if attempt.code?.wholeMatch(of: #/[0-9]{6}/#) == nil {
                    errors.append(FieldError("/totp", "not_a_code", "Six digits belong here."))
                }
            }
            if let code = body["recovery_code"] {
                attempt.recoveryCode = code.text
                if code.text.flatMap(RecoveryCode.init) == nil {
                    errors.append(FieldError("/recovery_code", "not_a_code", "Sixteen letters and digits belong here."))
                }
            }
            attempt.client = request.client
            attempt.agent = request.headers[.userAgent].map { String($0.unicodeScalars.prefix(200)) }
            let known = ["tenant", "email", "password", "totp", "recovery_code"]
            for name in (body.object ?? [:]).keys where !known.contains(name) {
                errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
            }
            if !errors.isEmpty { throw Problem.invalid(errors) }
            if let seconds = limiter.secondsUntilSignIn("\(tenant)/\(email.lowercased())") {
                throw Problem(
                    429, "too_many_requests", "Too many attempts for this account.",
                    headers: [("Retry-After", "\(seconds)")])
            }
            let outcome: SignIn.Outcome
            do { outcome = try await signIn.open(attempt) } catch is SignIn.Busy {
                throw Problem(
                    429, "too_many_requests", "Too many people sign in right now.", headers: [("Retry-After", "2")])
            }
            switch outcome {
            case .opened(let session):
                return EndpointResponse(
                    201,
                    json: [
                        "token": .string(session.token.text),
                        "expires_at": .string(Timestamp.rfc3339(session.expiresAt)),
                    ])
            case .codeNeeded:
                throw Problem(
                    401, "totp_required", "Send totp, the code that your app shows, or recovery_code, as well.")
            case .refused:
                throw Problem(
                    401, "wrong_credentials",
                    "Tenant, address, password or code is wrong, or the account is locked for a while.")
            }
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
                try await signIn.close(token, client: request.client)
            }
            return EndpointResponse(204)
        }
    }
}
