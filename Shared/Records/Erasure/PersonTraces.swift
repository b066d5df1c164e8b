import Foundation

/// By what a person is known outside their own records: texts that would betray them.
///
/// It travels with the erasure's jobs and is emptied out of them at its end.
package struct PersonTraces: Codable, Sendable, Equatable {
    package let emails: [String]
    /// E.164.
    package let phones: [String]
    /// Given and family name, where both are known.
    package let names: [Name]
    /// Whole names as they are shown, handles, numbers of documents.
    package let others: [String]

    /// A name in two parts, which may stand in either order.
    package struct Name: Codable, Sendable, Equatable, Hashable {
        package let given: String
        package let family: String

        package init(given: String, family: String) {
            self.given = given
            self.family = family
        }
    }

    package init(emails: [String], phones: [String], names: [Name], others: [String]) {
        self.emails = emails
        self.phones = phones
        self.names = names
        self.others = others
    }

    /// Patterns of LIKE for lower-cased text. What is too short to be anybody's alone is left out: three characters of
    /// Chinese, two where a name has no more, six of other scripts.
    package var patterns: [String] {
        var patterns = (emails + phones + others).filter(Self.isTelling).map { "%\(Self.escaped($0))%" }
        for name in names where name.given.count + name.family.count > 1 {
            let (given, family) = (Self.escaped(name.given), Self.escaped(name.family))
            if Self.isIdeographic(name.given + name.family) {
                patterns.append("%\(family)\(given)%")
            } else {
                // `Ada Jansen`, `Jansen, Ada`, and `Ada","family_name":"Jansen` of a row or a body.
                patterns += ["%\(given) \(family)%", "%\(family), \(given)%", "%\(family) \(given)%"]
            }
        }
        return Array(Set(patterns)).sorted()
    }

    /// For rows of tables, where the parts of a name stand in columns of their own.
    package var rowPatterns: [String] {
        let apart = names.flatMap { name in
            let (given, family) = (Self.escaped(name.given), Self.escaped(name.family))
            return ["%\(given)%\(family)%", "%\(family)%\(given)%"]
        }
        return Array(Set(patterns + apart)).sorted()
    }

    /// The ends of telephone numbers, for text from which all but digits was taken: nine digits, less where there are
    /// not so many.
    package var digitPatterns: [String] {
        phones.map { "%\($0.filter(\.isNumber).suffix(9))%" }.filter { $0.count >= 8 }
    }

    /// True when the text says who it is.
    package func isFound(in text: String) -> Bool {
        let text = text.lowercased()
        let whole = (emails + phones + others).filter(Self.isTelling)
        let both = names.flatMap {
            ["\($0.given) \($0.family)", "\($0.family) \($0.given)", "\($0.family)\($0.given)"]
        }
        return (whole + both).contains { text.contains($0.lowercased()) }
    }

    private static func isTelling(_ text: String) -> Bool {
        isIdeographic(text) ? text.count >= 2 : text.count >= 6
    }

    private static func isIdeographic(_ text: String) -> Bool {
        !text.isEmpty && text.unicodeScalars.allSatisfy { $0.properties.isIdeographic }
    }

    private static func escaped(_ text: String) -> String {
        text.lowercased().replacing("\\", with: "\\\\").replacing("%", with: "\\%").replacing("_", with: "\\_")
    }
}
