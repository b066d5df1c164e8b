import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// One-time codes of an authenticator app: setting them up, and taking them away.
struct SecondFactorEndpoints {
    private let store: RecordStore
    private let vault: SecretVault

    init(store: RecordStore) {
        self.store = store
        vault = SecretVault(key: store.key(for: SecretVault.purpose))
    }

    var all: [Endpoint] { [propose, confirm, renewRecoveryCodes, remove] }

    private static let recoveryCodeCount = 10
    private static let form = Form(
        fields: [Field("code", .text(max: 10), Label("Code", "验证码")).required()],
        schemas: ["code": ["type": "string", "pattern": "^[0-9]{6}$"]])
    private static let codes = Schemas.object([
        "recovery_codes": ["type": "array", "items": ["type": "string"], "minItems": 10, "maxItems": 10]
    ])

    private var propose: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = Schemas.object(["secret": ["type": "string"], "uri": ["type": "string"]])
            $0.status = 201
            $0.refusals = [409]
        }
        return Endpoint(
            .post, "/v1/me/totp", "Begin with one-time codes: a secret for the app, shown once",
            documentation: documentation
        ) { request in
            try request.allow([])
            let person = try Person(request)
            let fresh = OneTimeCode.make()
            let tenant = request.context.tenant
            let sealed = vault.seal(fresh.secret, for: SignIn.owner(tenant: tenant, user: person.id))
            let user = try await store.database.withTenant(tenant) { transaction in
                let factors = SecondFactorStore(transaction: transaction)
                if try await factors.state(of: person.id)?.isConfirmed == true {
                    throw Problem(409, "totp_enabled", "One-time codes are set up: take them away first.")
                }
                let user = try await UserStore(transaction: transaction, author: person.author).find(person.id)
                factors.propose(sealed, to: person.id)
                return user
            }
            return EndpointResponse(
                201,
                json: [
                    "secret": .string(fresh.text),
                    "uri": .string(fresh.uri(issuer: "Guanxi \(request.principal.slug)", account: user.email)),
                ])
        }
    }

    private var confirm: Endpoint {
        let documentation = EndpointDocumentation {
            $0.body = Self.form.schema()
            $0.response = Self.codes
            $0.refusals = [409]
        }
        return Endpoint(
            .post, "/v1/me/totp/confirm", "Show that the app works; ten recovery codes, shown once",
            documentation: documentation
        ) { request in
            try request.allow([])
            let code = try Self.form.read(try await request.json()).text("code")!
            let person = try Person(request)
            let tenant = request.context.tenant
            let fresh = (0..<Self.recoveryCodeCount).map { _ in RecoveryCode.make() }
            try await store.database.withTenant(tenant) { transaction in
                let factors = SecondFactorStore(transaction: transaction)
                guard let state = try await factors.state(of: person.id), !state.isConfirmed else {
                    throw Problem(409, "nothing_to_confirm", "No one-time codes wait to be confirmed.")
                }
                let owner = SignIn.owner(tenant: tenant, user: person.id)
                guard
                    let step = vault.open(state.sealed, for: owner).flatMap({
                        OneTimeCode(secret: $0).step(
                            of: code, at: Int64(Date().timeIntervalSince1970), after: state.lastStep)
                    })
                else { throw Problem.invalid("/code", "wrong_code", "This is not the code that the app shows now.") }
                factors.confirm(person.id, step: step)
                factors.replaceRecoveryCodes(of: person.id, with: fresh)
                transaction.later(person.author.audit("totp.enabled", person.subject))
            }
            return Self.shown(fresh)
        }
    }

    private var renewRecoveryCodes: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = Self.codes
            $0.refusals = [409]
        }
        return Endpoint(
            .post, "/v1/me/totp/recovery-codes", "Ten new recovery codes, shown once; the old ones end",
            documentation: documentation
        ) { request in
            try request.allow([])
            let person = try Person(request)
            let fresh = (0..<Self.recoveryCodeCount).map { _ in RecoveryCode.make() }
            try await store.database.withTenant(request.context.tenant) { transaction in
                let factors = SecondFactorStore(transaction: transaction)
                guard try await factors.state(of: person.id)?.isConfirmed == true else {
                    throw Problem(409, "totp_not_enabled", "One-time codes are not set up.")
                }
                factors.replaceRecoveryCodes(of: person.id, with: fresh)
                transaction.later(person.author.audit("recovery_codes.renewed", person.subject))
            }
            return Self.shown(fresh)
        }
    }

    private static func shown(_ codes: [RecoveryCode]) -> EndpointResponse {
        EndpointResponse(json: ["recovery_codes": .array(codes.map { .string($0.text) })])
    }

    private var remove: Endpoint {
        let documentation = EndpointDocumentation {
            $0.status = 204
            $0.refusals = [404]
        }
        return Endpoint(.delete, "/v1/me/totp", "Do without one-time codes", documentation: documentation) { request in
            try request.allow([])
            let person = try Person(request)
            return try await store.changing(request, status: 204) { transaction in
                try await SecondFactorStore(transaction: transaction).remove(from: person.id)
                transaction.later(person.author.audit("totp.removed", person.subject))
                return .null
            }
        }
    }
}
