import ArgumentParser
import Database
import Foundation
import Tenancy

struct Tenants: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Creates, shows, moves and erases tenants.",
        subcommands: [
            Create.self, List.self, Show.self, Change.self, Suspend.self, Resume.self, Promote.self, Demote.self,
            Export.self, Import.self, Erase.self,
        ])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Creates a tenant.")
        @Argument(help: "Its slug: small letters, digits and hyphens.") var slug: String
        @Option(help: "Its name for people.") var name: String?
        @Option(help: "en or zh-CN.") var locale = "en"
        @Option(help: "Such as Asia/Shanghai.") var timeZone = "UTC"
        @Option(help: "Two letters of ISO 3166.") var country = "US"
        @Option(help: "Three letters of ISO 4217.") var currency = "USD"
        @Option(help: "What it pays for, in a word: small letters, digits and hyphens.") var plan = "standard"
        @Option(help: "Requests a second that the tenant may make.") var requestsPerSecond = 1000
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            let directory = TenantDirectory(owner: session.owner)
            var tenant = TenantDirectory.NewTenant(slug: slug, name: name ?? slug)
            tenant.locale = locale
            tenant.timeZone = timeZone
            tenant.country = country
            tenant.currency = currency
            tenant.plan = plan
            tenant.requestsPerSecond = requestsPerSecond
            try await creating(tenant.slug) { _ = try await directory.create(tenant) }
            try show(try await directory.list(slug: slug), json: json)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists all tenants.")
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            try show(try await TenantDirectory(owner: session.owner).list(), json: json)
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows one tenant.")
        @Argument var slug: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            let found = try await TenantDirectory(owner: session.owner).list(slug: slug)
            if found.isEmpty { throw WrongCall("there is no tenant \(slug)") }
            try Tenants.show(found, json: json)
        }
    }

    static func show(_ tenants: [TenantDirectory.Tenant], json: Bool) throws {
        if json { return try printJSON(tenants) }
        printTable(
            ["ID", "SLUG", "NAME", "PLAN", "STATUS", "PLACEMENT", "LOCALE", "TIME ZONE", "CURRENCY", "CREATED"],
            tenants.map {
                [
                    "\($0.id)", $0.slug, $0.name, $0.plan, $0.status, $0.placement, $0.locale, $0.timeZone, $0.currency,
                    $0.createdAt,
                ]
            })
    }
}

/// Runs what creates a tenant; a mistake of the caller where its slug or another value can't be taken.
func creating<Made>(_ slug: String, _ create: () async throws -> Made) async throws -> Made {
    do { return try await create() } catch let error as DatabaseError {
        switch (error.code, error.constraint) {
        case (.uniqueViolation, _): throw WrongCall("there is a tenant \(slug) already")
        case (.checkViolation, "tenant_slug_check"):
            throw WrongCall(
                "\(slug) is no slug: that is 2 to 63 small letters, digits and hyphens, beginning with a letter")
        case (.checkViolation, "tenant_name_check"): throw WrongCall("a name has 1 to 200 characters")
        case (.checkViolation, "tenant_plan_check"):
            throw WrongCall("a plan is up to 32 small letters, digits and hyphens, beginning with a letter")
        case (.checkViolation, "tenant_locale_check"): throw WrongCall("the locale is en or zh-CN")
        case (.checkViolation, "tenant_default_country_check"):
            throw WrongCall("a country is two capital letters of ISO 3166, such as US")
        case (.checkViolation, "tenant_default_currency_check"):
            throw WrongCall("a currency is three capital letters of ISO 4217, such as USD")
        case (.checkViolation, "tenant_requests_per_second_check"): throw WrongCall("requests a second are at least 1")
        case (.checkViolation, _), (.invalidValue, _): throw WrongCall(error.message)
        default: throw error
        }
    }
}

/// The tenant with a slug; a mistake of the caller when there is none.
func tenant(_ slug: String, _ directory: TenantDirectory) async throws -> TenantID {
    guard let found = try await directory.list(slug: slug).first else { throw WrongCall("there is no tenant \(slug)") }
    return TenantID(found.id)
}

struct Users: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Creates users.", subcommands: [Create.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Creates a user of a tenant.",
            discussion: "The password is read from GUANXI_USER_PASSWORD, or made and shown once.")
        @Argument(help: "The tenant's slug.") var tenantSlug: String
        @Argument(help: "The address to sign in with.") var email: String
        @Option(help: "The user's name.") var name: String?
        @Option(help: "Roles, separated by commas.") var roles = "agent"
        @Option(help: "The id of the user's team.") var team: String?
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            let directory = TenantDirectory(owner: session.owner)
            let given = ProcessInfo.processInfo.environment["GUANXI_USER_PASSWORD"]
            let password = given ?? Sodium.base64(Sodium.random(12))
            do {
                let id = try await directory.createUser(
                    tenant: try await tenant(tenantSlug, directory), email: email, name: name ?? email,
                    password: password,
                    roles: roles.split(separator: ",").map(String.init), team: team.flatMap(UUID.init(uuidString:)))
                if json {
                    // Its password where it was made here: nobody else knows it.
                    let answer = ["id": id.lowercased, "password": given == nil ? password : nil]
                    return try printOperatorJSON(answer.compactMapValues { $0 })
                }
                print("user \(id.lowercased)")
                if given == nil { print("password \(password)") }
            } catch let error as DatabaseError where error.code == .uniqueViolation {
                throw WrongCall("\(email) is a user of \(tenantSlug) already")
            } catch let error as DatabaseError where error.code == .invalidValue {
                throw WrongCall(error.message)
            }
        }
    }
}

struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Creates and revokes API keys.", subcommands: [Create.self, Revoke.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Creates a key and shows it, once.")
        @Argument(help: "The tenant's slug.") var tenantSlug: String
        @Option(help: "What the key is for.") var name = "key"
        @Option(help: "Roles, separated by commas.") var roles = "administrator"
        @Option(help: "Days until it expires; never when left out.") var days: Int?
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            let directory = TenantDirectory(owner: session.owner)
            let token = try await directory.createKey(
                tenant: try await tenant(tenantSlug, directory), name: name,
                roles: roles.split(separator: ",").map(String.init),
                expiresAt: days.map { Date(timeIntervalSinceNow: Double($0) * 86_400) })
            if json { return try printOperatorJSON(["id": token.id, "key": token.text]) }
            print(token.text)
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revokes a key at once.", discussion: "It can't be taken back: whoever used it needs a new one.")
        @Argument(help: "The key, or the id within it.") var key: String
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func run() async throws {
            let id = BearerToken(key)?.id ?? key
            try consent.confirm("Revoke \(id)")
            let session = try await OperatorSession()
            defer { session.close() }
            guard try await TenantDirectory(owner: session.owner).revokeKey(id) else {
                throw WrongCall("there is no such key")
            }
            if json { return try printOperatorJSON(["id": id]) }
            print("revoked \(id)")
        }
    }
}
