import ArgumentParser
import Database
import Foundation
import Records
import ServiceKit
import Tenancy

struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes a realistic tenant: Chinese and European customers and two years of dealings with them.",
        discussion: "The same seed gives the same people and figures.")

    @Option(help: "The tenant's slug.") var tenant = "demo"
    @Option(help: "How many contacts.") var contacts = 300
    @Option(help: "The seed of everything random.") var seed: UInt64 = 7
    @Flag(help: "Write no progress bar.") var quiet = false

    func validate() throws {
        guard (1...1_000_000).contains(contacts) else {
            throw ValidationError("--contacts is a number from 1 to 1,000,000")
        }
    }

    func run() async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        let directory = TenantDirectory(owner: session.owner)
        guard try await directory.list(slug: tenant).isEmpty else {
            print("there is a tenant \(tenant) already")
            return
        }
        var wanted = TenantDirectory.NewTenant(slug: tenant, name: "Demo Trading 关系")
        wanted.timeZone = "Asia/Shanghai"
        wanted.country = "CN"
        wanted.currency = "EUR"
        wanted.requestsPerSecond = 100_000
        let id = try await directory.create(wanted)
        let builder = try await DemoBuilder(
            session: session, tenant: id,
            defaults: TenantDefaults(country: "CN", currency: "EUR", timeZone: "Asia/Shanghai"),
            seed: seed, showsProgress: !quiet)
        try await builder.build(contacts: contacts)
    }
}

/// A small, fast, seeded generator (SplitMix64: Steele, Lea, Flood, 2014).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[Int.random(in: 0..<choices.count, using: &self)]
    }
}

/// The words that the demo's people and companies are made of.
enum DemoWords {
    static let chineseFamily = ["王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "胡", "朱", "高", "林"]
    static let chineseGiven = [
        "伟", "芳", "秀英", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明", "超", "霞", "平", "刚",
    ]
    static let europeanFamily = [
        "Müller", "Schmidt", "García", "Rossi", "Dubois", "Jensen", "Novák", "Kowalska", "de Vries", "O’Neill",
        "Ferreira", "Lindström",
    ]
    static let europeanGiven = [
        "Anna", "Lukas", "María", "Giulia", "Chloé", "Søren", "Jana", "Piotr", "Sanne", "Aoife", "João", "Elsa", "Noah",
        "Ida",
    ]
    static let companies = [
        "青云科技", "长江贸易", "Nordwind GmbH", "Atelier Lumière", "Bianchi Forniture", "海纳物流", "Boreal Oy", "Castilla Vinos",
    ]
    static let industries = ["retail", "manufacturing", "logistics", "hospitality", "education", "health"]
    static let occupations = ["buyer", "engineer", "teacher", "owner", "nurse", "manager", "designer"]
    static let regions = ["上海", "北京", "广东", "Bayern", "Île-de-France", "Lombardia", "Noord-Holland"]
    static let products = [
        ("茶礼盒 Tea gift box", 4_900), ("丝巾 Silk scarf", 12_900), ("瓷器 Porcelain set", 38_500),
        ("Service contract", 120_000),
    ]
    static let subjects = ["Where is my order?", "产品有划痕", "Invoice is wrong", "如何更换地址", "Delivery was late", "想了解售后服务"]
}
