/// One electronic business card: a version and its properties in the order of the file (RFC 6350, RFC 2426, vCard 2.1).
///
/// The version is no property here, so a card keeps its meaning when it is written in another one. What the card says
/// of a person (name, e-mail addresses, …) is in the extensions; what they don't know stays in `properties`.
package struct VCard: Sendable, Equatable {
    /// The versions that are read; 3.0 and 4.0 are written too.
    package enum Version: String, Sendable, CaseIterable {
        case v21 = "2.1"
        case v30 = "3.0"
        case v40 = "4.0"
    }

    /// nil: the card named no version, or one we don't know, and was read by the rules that all of them share.
    package var version: Version?
    package var properties: [Property]

    /// A card of these properties; nothing is checked or added until it is written.
    package init(version: Version? = .v40, properties: [Property] = []) {
        self.version = version
        self.properties = properties
    }
}

extension VCard {
    /// All properties of this name, in the order of the file. Names have no case (RFC 6350 §3.3).
    package func properties(_ name: String) -> [Property] {
        let wanted = name.uppercased()
        return properties.filter { $0.name == wanted }
    }

    /// The property of this name that the card prefers, or else its first; nil when there is none (RFC 6350 §5.3).
    package func property(_ name: String) -> Property? {
        let candidates = properties(name)
        return candidates.enumerated().min {
            ($0.element.preference ?? 101, $0.offset) < ($1.element.preference ?? 101, $1.offset)
        }?.element
    }
}
