import Foundation
import Testing

@testable import Records

@Suite("Batches")
struct RecordBatchTests {
    private static let person = RecordType(
        "person", plural: "people", schema: "s", label: Label("Person", "人"),
        fields: [
            Field("name", .text(max: 80), Label("Name", "名")),
            Field("boss_id", .reference("person"), Label("Boss", "上级")),
            Field("friends", .list([Field("friend_id", .foreignID, Label("F", "友"))], max: 3), Label("F", "友")),
        ])
    private static let catalogue = Catalogue([person])

    private func pointers(_ text: String) -> [String] {
        do {
            _ = try RecordBatch(try JSONParser.parse(text.utf8), catalogue: Self.catalogue)
            return []
        } catch let problem as Problem {
            return problem.fields.map(\.pointer)
        } catch {
            return ["\(error)"]
        }
    }

    @Test("every wrong member of every operation is named")
    func wrong() {
        #expect(pointers("[]") == [""])
        #expect(pointers("{}") == ["/operations"])
        #expect(pointers(#"{"operations":[]}"#) == ["/operations"])
        #expect(
            pointers(#"{"operations":[{"op":"make","type":"dog"},{"op":"create","type":"person"},5]}"#)
                == ["/operations/0/op", "/operations/0/type", "/operations/1/body", "/operations/2"])
        #expect(
            pointers(#"{"operations":[{"op":"update","type":"person","id":"x","body":{}}]}"#)
                == ["/operations/0/id", "/operations/0/if_match"])
        #expect(
            pointers(
                #"{"operations":[{"op":"create","type":"person","ref":"a b","body":{}},{"op":"delete","type":"person","id":"$a","if_match":0,"body":{}}]}"#
            ) == ["/operations/0/ref", "/operations/1/body", "/operations/1/if_match"])
        let one = #"{"op":"create","type":"person","ref":"a","body":{}}"#
        #expect(pointers(#"{"operations":[\#(one),\#(one)]}"#) == ["/operations/1/ref"])
        let many = [String](repeating: #"{"op":"create","type":"person","body":{}}"#, count: 101).joined(separator: ",")
        #expect(pointers(#"{"operations":[\#(many)]}"#) == ["/operations"])
    }

    @Test("a name stands for an id in references alone, also within lists")
    func names() throws {
        let id = UUID.v7()
        let body: [String: JSONValue] = [
            "name": "$a", "boss_id": "$a", "friends": [["friend_id": "$a"], ["friend_id": .null], "odd"],
        ]
        let resolved = try RecordBatch.resolved(body, fields: Self.person.fields, ["a": id])
        #expect(
            resolved == [
                "name": "$a", "boss_id": .string(id.lowercased),
                "friends": [["friend_id": .string(id.lowercased)], ["friend_id": .null], "odd"],
            ])
        for (wrong, pointer) in [
            (["boss_id": "$b"], "/boss_id"), (["friends": [["friend_id": "$"]]], "/friends/0/friend_id"),
        ] as [([String: JSONValue], String)] {
            do throws(FieldError) {
                _ = try RecordBatch.resolved(wrong, fields: Self.person.fields, ["a": id])
                Issue.record("an unknown name was taken")
            } catch {
                #expect(error.pointer == pointer && error.code == "unknown_ref")
            }
        }
    }
}
