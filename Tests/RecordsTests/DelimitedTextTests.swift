import Testing

@testable import Records

@Suite("Columns of an import")
struct ImportMappingTests {
    private static let type = RecordType(
        "person", plural: "people", schema: "s", label: Label("Person", "人"),
        fields: [
            Field(
                "emails",
                .list(
                    [
                        Field("value", .email, Label("V", "值")),
                        Field("kind", .choice(["work", "home"]), Label("K", "类")),
                    ], max: 3), Label("E-mail", "邮箱"))
        ])

    @Test(
        "a place that a file names itself belongs to a column or to none",
        arguments: ["-1", "2", "x", "", "99999999999999999999"])
    func columns(step: String) throws {
        let mapping = try ImportMapping(["m": "emails.work"], type: Self.type)
        #expect(mapping.column(of: "/emails/0") == "m")
        #expect(mapping.column(of: "/emails/\(step)") == "m", "the list's first column stands for all of it")
        #expect(mapping.column(of: "/custom/\(step)") == nil)
    }
}

@Suite("Comma-separated text")
struct DelimitedTextTests {
    private func rows(_ text: String, pieces: Int = 1) -> [DelimitedText.Row] {
        var reader = DelimitedText()
        var rows: [DelimitedText.Row] = []
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            rows += reader.feed(bytes[start..<min(start + pieces, bytes.count)])
        }
        if let last = reader.finish() { rows.append(last) }
        return rows
    }

    @Test("quotes, doubled quotes, line breaks within quotes and both line endings", arguments: [1, 2, 3, 1000])
    func quoting(pieces: Int) {
        let got = rows("a,b\r\n\"x,\"\"y\"\"\",\"line\nbreak\"\n关系,🤝", pieces: pieces)
        #expect(got.map(\.fields) == [["a", "b"], ["x,\"y\"", "line\nbreak"], ["关系", "🤝"]])
        #expect(got.allSatisfy { $0.error == nil })
    }

    @Test("reading can begin again at the end of any row")
    func resume() {
        let text = "h1,h2\na,\"b\nc\"\n\nd,e\nf,g"
        let all = rows(text)
        for row in all.dropLast() {
            var reader = DelimitedText(offset: row.end, rows: row.number)
            var rest = reader.feed(Array(text.utf8).dropFirst(row.end))
            if let last = reader.finish() { rest.append(last) }
            let expected = all.filter { $0.end > row.end }
            #expect(rest.map(\.fields) == expected.map(\.fields))
            #expect(rest.map(\.number) == expected.map(\.number))
        }
    }

    @Test("stray quotes, missing ends, wrong encodings and binary rows are errors of their row alone")
    func broken() {
        let bytes = Array("a\n\"x\"y\n".utf8) + [0xff, 0xfe, 10] + [65, 0, 10] + Array("good\n\"open".utf8)
        var reader = DelimitedText()
        var got = reader.feed(bytes)
        got.append(reader.finish()!)
        #expect(got.map { $0.error?.code } == [nil, "stray_quote", "wrong_encoding", "binary", nil, "unclosed_quote"])
    }

    @Test("an endless line is an error of bounded size, and the next row is read")
    func endless() {
        let long = [UInt8](repeating: 65, count: DelimitedText.longestRow + 1000)
        var reader = DelimitedText()
        let got = reader.feed(Array("h\n".utf8) + long + Array("\nnext\n".utf8))
        #expect(got.map { $0.error?.code } == [nil, "row_too_long", nil])
        #expect(got[1].raw.count <= DelimitedText.longestRow)
        #expect(got[2].fields == ["next"])
    }

    @Test("a byte-order mark is no part of the first column's name")
    func mark() { #expect(rows("\u{feff}name,b\n")[0].fields == ["name", "b"]) }
}
