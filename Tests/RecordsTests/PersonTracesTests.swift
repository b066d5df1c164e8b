import Testing

@testable import Records

@Suite("What a person is known by")
struct PersonTracesTests {
    private let traces = PersonTraces(
        emails: ["ada@example.eu"], phones: ["+49301234567"],
        names: [
            PersonTraces.Name(given: "Ada", family: "Jansen"), PersonTraces.Name(given: "伟", family: "王"),
        ], others: ["50%_\\x", "Li", "王伟"])

    @Test("names are looked for in either order, Chinese ones without a space, wildcards as themselves")
    func patterns() {
        let patterns = Set(traces.patterns)
        #expect(
            patterns.isSuperset(of: ["%ada jansen%", "%jansen, ada%", "%王伟%", "%ada@example.eu%", "%+49301234567%"]))
        #expect(patterns.contains("%50\\%\\_\\\\x%"))
        #expect(!patterns.contains("%li%"), "too short to be anybody's alone")
        #expect(traces.digitPatterns == ["%301234567%"])
        #expect(traces.rowPatterns.contains("%jansen%ada%"))
    }

    @Test("a text that names the person is noticed, another is not")
    func found() {
        #expect(traces.isFound(in: "letter of Ada Jansen") && traces.isFound(in: "王伟来信"))
        #expect(!traces.isFound(in: "letter of 3 May") && !traces.isFound(in: "Jansen"))
    }

    @Test("which fields go follows from their kind, unless the field says so itself")
    func fields() {
        let label = Label("x", "x")
        let type = RecordType(
            "note", plural: "notes", schema: "s", label: label,
            fields: [
                Field("title", .text(max: 9), label).required(), Field("body", .text(max: 9), label),
                Field("number", .text(max: 9), label).impersonal(), Field("born", .date, label).personal(),
                Field("at", .timestamp, label), Field("kind", .choice(["a"]), label),
                Field("hours", .list([Field("n", .integer(min: 0, max: 9), label)], max: 9), label),
                Field("people", .list([Field("name", .text(max: 9), label)], max: 9), label),
                Field("contact_id", .foreignID, label).of("contact"),
            ])
        let personal = type.fields.filter(\.isPersonal)
        #expect(personal.map(\.name) == ["title", "body", "born", "people", "custom"])
        #expect(personal.map { $0.pseudonym(in: type) } == ["erased", .null, .null, [], .null])
        let data = PersonalData(Catalogue([type]), target: "contact")
        #expect(data.places.map(\.type.name) == ["note"])
    }

    @Test("what belongs to a person's record is found through it")
    func parents() {
        let label = Label("x", "x")
        let ticket = RecordType(
            "ticket", plural: "tickets", schema: "s", label: label,
            fields: [
                Field("subject", .text(max: 9), label), Field("contact_id", .foreignID, label).of("contact"),
            ])
        let comment = RecordType(
            "comment", plural: "comments", schema: "s", label: label,
            fields: [
                Field("ticket_id", .reference("ticket"), label).required().immutable(),
                Field("body", .text(max: 9), label),
            ])
        let other = RecordType(
            "team", plural: "teams", schema: "s", label: label, fields: [Field("name", .text(max: 9), label)])
        let data = PersonalData(Catalogue([ticket, comment, other]), target: "contact")
        #expect(data.places.map(\.type.name) == ["ticket", "comment"])
        let condition = data.places[1].condition(schema: "s", subjects: "$2", emails: "$3", erasure: "$4")
        #expect(condition.contains("select p.id from s.ticket p") && condition.contains("p.contact_id = any($2)"))
    }
}
