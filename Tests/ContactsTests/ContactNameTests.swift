import Testing

@testable import Contacts

@Suite("Names")
struct ContactNameTests {
    @Test(
        "Chinese names begin with the family, others with the given name",
        arguments: [("伟", "王", "王伟"), ("Anna", "Müller", "Anna Müller"), ("伟", "Smith", "伟 Smith")])
    func order(given: String, family: String, expected: String) {
        #expect(Contact.displayName(given: given, family: family) == expected)
    }

    @Test("one name alone is the display name, none is none")
    func partial() {
        #expect(Contact.displayName(given: nil, family: "de Vries") == "de Vries")
        #expect(Contact.displayName(given: nil, family: nil) == nil)
    }
}
