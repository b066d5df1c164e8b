import Database
import Foundation
import Tenancy
import Testing

@testable import Records

@Suite("Filters")
struct FilterTests {
    private static let company = RecordType(
        "company", plural: "companies", schema: "s", label: Label("Company", "公司"),
        fields: [Field("industry", .text(max: 80), Label("Industry", "行业"))])
    private static let person = RecordType(
        "person", plural: "people", schema: "s", label: Label("Person", "人"),
        fields: [
            Field("name", .text(max: 80), Label("Name", "名")).sortable(),
            Field("age", .integer(min: 0, max: 200), Label("Age", "年龄")),
            Field("tags", .tags(max: 5), Label("Tags", "标签")), Field("worth", .money, Label("Worth", "价值")),
            Field("company_id", .reference("company"), Label("Company", "公司")),
            Field("emails", .list([Field("value", .email, Label("V", "值"))], max: 3), Label("E-mail", "邮箱")),
        ])
    private let compiler = FilterCompiler(
        catalogue: Catalogue([person, company]),
        defaults: TenantDefaults(country: "DE", currency: "EUR", timeZone: "Europe/Berlin"),
        now: Date(timeIntervalSince1970: 1_774_000_000))

    private func compile(_ text: String) throws -> (String, Int) {
        var builder = SQLBuilder(["1"])
        let sql = try compiler.sql(try Filter.parse(try JSONParser.parse(text.utf8)), type: Self.person, &builder)
        return (sql, builder.parameters.count)
    }

    @Test("values travel as parameters and columns come from the description")
    func parameters() throws {
        let hostile = #"{"field":"name","op":"eq","value":"x' or '1'='1"}"#
        let (sql, count) = try compile(hostile)
        #expect(sql == "r.name = $2::text")
        #expect(count == 2)
        #expect(throws: Problem.self) { try compile(#"{"field":"name = name or name","op":"eq","value":"x"}"#) }
    }

    @Test("references, lists and money can be reached into")
    func paths() throws {
        #expect(try compile(#"{"field":"company.industry","op":"eq","value":"retail"}"#).0.contains("exists"))
        #expect(try compile(#"{"field":"emails.value","op":"eq","value":"a@b.cd"}"#).0.contains("@>"))
        #expect(try compile(#"{"field":"worth.amount","op":"gte","value":100}"#).0 == "r.worth_amount >= $2::bigint")
    }

    @Test(
        "a filter that can't be meant is refused with what is wrong",
        arguments: [
            "[]", "{}", #"{"and":[]}"#, #"{"field":"nope","op":"eq","value":1}"#,
            #"{"field":"name","op":"like","value":"x"}"#,
            #"{"field":"age","op":"eq","value":"old"}"#, #"{"field":"age","op":"contains","value":"1"}"#,
            #"{"field":"name","op":"in","value":[]}"#,
            #"{"field":"name","op":"within","value":{"last":3,"unit":"day"}}"#,
            #"{"field":"created_at","op":"within","value":{"last":3,"unit":"blink"}}"#, #"{"field":"name","extra":1}"#,
            #"{"field":"name","op":"eq"}"#, #"{"field":"name"}"#,
        ])
    func refused(text: String) { #expect(throws: Problem.self) { try compile(text) } }

    @Test("a field without a name is refused like any that is not there", arguments: ["", ".", "..", ".name", "name."])
    func nameless(path: String) throws {
        let filter = try Filter.parse(["and": [["field": .string(path), "op": "empty"]]])
        // Asked before the filter is compiled, to choose the plan.
        _ = filter.isFound(in: Self.person, .neutral)
        _ = filter.isCovered(by: Self.person)
        var builder = SQLBuilder(["1"])
        #expect(throws: Problem.self) { try compiler.sql(filter, type: Self.person, &builder) }
    }

    @Test("depth and size are bounded")
    func bounds() {
        let deep =
            String(repeating: #"{"not":"#, count: 20) + #"{"field":"name","op":"eq","value":"x"}"#
            + String(repeating: "}", count: 20)
        #expect(throws: Problem.self) { try compile(deep) }
        let wide =
            #"{"and":["#
            + [String](repeating: #"{"field":"name","op":"eq","value":"x"}"#, count: 51).joined(separator: ",") + "]}"
        #expect(throws: Problem.self) { try compile(wide) }
    }

    @Test("relative dates follow the tenant's calendar, quarters too")
    func relative() throws {
        let now = Date(timeIntervalSince1970: 1_774_000_000)  // 2026-03-20 in Berlin
        let (start, end) = try RelativeDates.bounds(["this": "quarter"], now: now, timeZone: "Europe/Berlin", path: "x")
        // From the first of January at midnight, in winter, to the first of April at midnight, in summer.
        #expect(start == Date(timeIntervalSince1970: 1_767_222_000))
        #expect(end == Date(timeIntervalSince1970: 1_774_994_400))
    }

    @Test("a span of days is one of the tenant's days")
    func localDays() {
        func day(_ moment: String, _ zone: String) -> String {
            RelativeDates.firstDay(beginningFrom: Timestamp.parse(moment)!, timeZone: zone)
        }
        // In Shanghai it is already the 23rd; its next day begins at 16:00 in UTC.
        #expect(day("2026-11-22T16:00:00Z", "Asia/Shanghai") == "2026-11-23")
        #expect(day("2026-11-22T16:00:01Z", "Asia/Shanghai") == "2026-11-24")
        #expect(day("2026-11-22T16:00:00Z", "UTC") == "2026-11-23")
        // The day on which the clocks go back has 25 hours, the one on which they go forward 23.
        #expect(day("2026-10-25T00:30:00Z", "Europe/Berlin") == "2026-10-26")
        #expect(day("2026-03-28T23:30:00Z", "Europe/Berlin") == "2026-03-30")
        #expect(day("2026-12-31T23:00:00Z", "Europe/Berlin") == "2027-01-01")
    }
}
